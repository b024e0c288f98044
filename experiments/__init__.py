"""Experiments as commands; `python -m experiments` lists them."""

import time

STARTED = time.perf_counter()  # before jax is imported: commands report their total time from here
