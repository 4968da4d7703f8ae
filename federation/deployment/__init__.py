"""A federation of real processes: keys and certificates, a SuperLink, SuperNodes."""
