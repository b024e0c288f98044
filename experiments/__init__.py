"""One file per result, each with its command and the number to expect. `python -m experiments` lists them."""

import time

STARTED = time.perf_counter()  # before jax is imported: what a command reports as its whole time starts here
