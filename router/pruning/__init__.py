"""Which members an ensemble can do without: what shows it, and the search for those that stay."""
