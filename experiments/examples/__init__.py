"""Runnable examples: the systems that the notes describe, as commands."""
