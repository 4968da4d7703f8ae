"""What an encoder is worth: probes on frozen features with intervals and floors, and the report."""
