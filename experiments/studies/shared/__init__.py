"""What all studies share: their form, their outcomes, and what their numbers come from."""
