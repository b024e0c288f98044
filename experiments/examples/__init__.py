"""Runnable examples: networks from introductory courses, as commands."""
