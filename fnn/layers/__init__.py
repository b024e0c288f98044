"""Layers: values with an init, a forward, and a backward that stands directly under it."""
