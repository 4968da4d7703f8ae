"""Training one specialist where the data is, with Flower."""
