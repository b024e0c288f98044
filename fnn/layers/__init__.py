"""Layers: each has its hand-written backward directly under its forward."""
