"""The gradient checker: a package of its own that imports nothing from the rest of fnn."""
