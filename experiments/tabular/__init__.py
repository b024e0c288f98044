"""A network on a table of your own: train it, then predict with it."""
