"""The environment of child processes that tests start."""

import os

CACHE = "FNN_TESTS_CACHE"  # conftest sets it: a folder for the programs that children of this session compile


def environment(**changes: str) -> dict[str, str]:
    """Return an environment in which children share compiled programs, so that each program is compiled once.

    Tests of caches and of cold starts use `os.environ` instead, and so do tests that kill a child: it could leave an
    incomplete entry behind.
    """
    cache = {
        "JAX_COMPILATION_CACHE_DIR": os.environ[CACHE],
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return os.environ | cache | changes
