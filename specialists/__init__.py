"""Small ConvNeXtV2 networks trained on one sensor and task."""
