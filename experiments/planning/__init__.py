"""Predict the cost of training on a mesh of devices that is not available."""
