"""Language models of characters: `python -m experiments text`."""
