"""Benchmarks: fnn and its peers side by side."""
