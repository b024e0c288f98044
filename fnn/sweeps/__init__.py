"""Sweeps: many trainings as one compiled program."""
