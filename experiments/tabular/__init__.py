"""Train a network on a user's own table, then predict with it."""
