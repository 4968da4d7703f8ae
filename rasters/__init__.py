"""Georeferenced images in and out, chip data sets, and simulated scenes."""
