"""The environment of child processes that tests start."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
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


def over_virtual_devices(module: str, name: str, devices: int, x64: bool = False) -> dict[str, Any]:
    """Run a task of a module, such as tests.support.over_devices, in a process that is killed if it hangs."""
    command = [sys.executable, "-W", "error", "-m", module, name, str(devices), str(x64)]
    options = {"cwd": ROOT, "env": environment(), "capture_output": True, "text": True, "timeout": 280}
    done = subprocess.run(command, check=False, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
