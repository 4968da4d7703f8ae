"""Frozen specialists with their cards: added once, found by name, verified on reading."""
