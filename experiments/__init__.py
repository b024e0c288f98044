"""Experiments, one file per result."""
