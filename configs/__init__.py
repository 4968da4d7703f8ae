"""Hydra configuration, a package so that it installs with the code."""
