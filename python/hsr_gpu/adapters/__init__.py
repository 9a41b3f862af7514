"""Doors for benchmark packages."""
