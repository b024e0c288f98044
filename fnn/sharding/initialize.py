"""Start this process as one of several, and end it so that the others notice.

JAX's coordinator runs in process 0. Every process registers with it and sends it heartbeats.
"""

import atexit
import functools
import os
import socket
import sys
import threading
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn import checks
from fnn.sharding import agreement

COORDINATOR, PROCESSES, PROCESS_ID = "FNN_COORDINATOR", "FNN_PROCESSES", "FNN_PROCESS_ID"
_GRACE_SECONDS = 2.0  # the coordinator exits later than the others, so that they end with their own errors
_VARIABLES = (COORDINATOR, PROCESSES, PROCESS_ID)


class Cluster(NamedTuple):
    """The arguments of `initialize` that JAX needs. None: JAX detects it."""

    coordinator_address: str | None
    num_processes: int | None
    process_id: int | None


_first_call: list[Cluster] = []  # the arguments of the call that initialized this process


def _from_environment(argument: str, value: Any, variable: str) -> Any:
    """Return the argument, else the value of the environment variable, else None."""
    if value is not None or not os.environ.get(variable):
        return value
    text = os.environ[variable]
    if variable == COORDINATOR:
        return text
    if not text.isdecimal():
        raise checks.fail("initialize", f"{argument} ({variable})", "a number", came=repr(text))
    return int(text)


def _check_arguments(coordinator_address: Any, num_processes: Any, process_id: Any) -> Cluster:
    """Complete the arguments from the environment, and check them."""
    address = _from_environment("coordinator_address", coordinator_address, COORDINATOR)
    count = _from_environment("num_processes", num_processes, PROCESSES)
    index = _from_environment("process_id", process_id, PROCESS_ID)
    if address is not None:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise checks.fail("initialize", "coordinator_address", "'host:port'", address)
    if count is not None:
        count = checks.positive_int("initialize", "num_processes", count)
    if index is not None:
        expected = "an integer of at least 0" if count is None else f"an integer in 0..{count - 1}"
        if isinstance(index, bool) or not isinstance(index, int | np.integer):
            raise checks.fail("initialize", "process_id", expected, index, TypeError)
        if index < 0 or (count is not None and index >= count):
            raise checks.fail("initialize", "process_id", expected, index)
        index = int(index)
    return Cluster(address, count, index)


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_timeout_seconds: int = 20,
    initialization_timeout: int = 120,
) -> None:
    """Make this process one of several that train together, before JAX is used.

    It wraps `jax.distributed.initialize`. JAX detects whatever is given neither as an argument nor as an environment
    variable. Under SLURM, Open MPI and Kubernetes, and on TPU pods, no argument is needed. On CPUs the processes
    communicate
    over TCP (gloo). A second call has no effect.

    If a process dies later, the others end too. A process that is waiting for data from the dead process ends at once,
    with JAX's
    JaxRuntimeError (`fit` raises LostProcessError). Any other process ends when the heartbeats have been missing for
    `heartbeat_timeout_seconds`: JAX reports it and aborts (exit code 134, SIGABRT). An uncaught exception in one
    process, or a pause longer than the timeout, ends the others in the same way.

    SIGTERM keeps its meaning: `fit` saves and stops. JAX's own handler for it (jax_enable_preemption_service) is
    turned off.

    Args:
      coordinator_address: "host:port" at which process 0 listens and which all processes can reach. Default: the
        environment variable FNN_COORDINATOR.
      num_processes: the number of processes. Default: FNN_PROCESSES.
      process_id: the index of this process, from 0. Default: FNN_PROCESS_ID.
      heartbeat_timeout_seconds: how long heartbeats may be missing.
      initialization_timeout: how many seconds to wait for all processes to connect.

    Raises:
      TimeoutError: if not all processes connect in time; the message says whether process 0 is listening.
      ValueError: if an argument is invalid, is missing and cannot be detected, or differs from the first call's.
      RuntimeError: if JAX has been used already, or cannot start.

    Example: four processes on one machine.

        export FNN_COORDINATOR=localhost:9876 FNN_PROCESSES=4
        for i in 0 1 2 3; do FNN_PROCESS_ID=$i python script.py & done; wait
    """
    heartbeat = checks.positive_int("initialize", "heartbeat_timeout_seconds", heartbeat_timeout_seconds)
    timeout = checks.positive_int("initialize", "initialization_timeout", initialization_timeout)
    cluster = _check_arguments(coordinator_address, num_processes, process_id)
    if jax.distributed.is_initialized():
        first = _first_call[0] if _first_call else cluster
        if any(new is not None and new != old for new, old in zip(cluster, first, strict=True)):
            raise checks.fail("initialize", "the arguments", f"those of the first call, {first}", came=str(cluster))
        return
    _start(cluster, heartbeat, timeout)
    _first_call.append(cluster)
    atexit.register(_exit_if_failed)  # called before JAX's own handler, which would wait for the others
    sys.excepthook = functools.partial(_report_uncaught, sys.excepthook)
    # connect now, while all processes are here; later, one process may spend minutes reading its data and the
    # others would time out
    agreement.all_max(0)


def _start(cluster: Cluster, heartbeat: int, timeout: int) -> None:
    """Start JAX in a thread, so that a timeout can raise TimeoutError; otherwise JAX would abort this process if
    another one is missing.
    """
    preemption = getattr(jax.config, "jax_enable_preemption_service")  # noqa: B009 (pyright does not see the attribute)
    errors: list[Exception] = []

    def connect() -> None:
        try:
            jax.distributed.initialize(
                **cluster._asdict(),
                initialization_timeout=timeout + 60,
                heartbeat_timeout_seconds=heartbeat,
            )
        except Exception as error:
            errors.append(error)

    jax.config.update("jax_enable_preemption_service", False)
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        raise TimeoutError(_timeout_message(cluster, timeout))
    jax.config.update("jax_enable_preemption_service", preemption)
    if not errors:
        return
    error, message = errors[0], str(errors[0])
    if "before any JAX c" in message:
        raise RuntimeError("initialize: it must be called before JAX is first used") from error
    if None in cluster and isinstance(error, ValueError):
        names = zip(Cluster._fields, _VARIABLES, cluster, strict=True)
        missing, variable = next((name, variable) for name, variable, value in names if value is None)
        expected = f"given, as an argument or in {variable}, because JAX detects no cluster"
        raise checks.fail("initialize", missing, expected, came="None") from error
    raise RuntimeError(f"initialize: JAX could not start with {cluster}: {message}") from error


def _timeout_message(cluster: Cluster, timeout: int) -> str:
    """Say which processes are missing, as far as this one can tell."""
    address, index = cluster.coordinator_address, cluster.process_id
    process = "this process" if index is None else f"process {index}"
    expected = "all processes" if cluster.num_processes is None else f"all {cluster.num_processes} processes"
    message = f"initialize: {process} waited {timeout} s for {expected} to connect to {address}"
    if address is None or index == 0:
        return message
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return f"{message}: process 0 is listening, another process is missing"
    except OSError as error:
        return f"{message}, where process 0 should be listening: {error.strerror or error}"


def _report_uncaught(excepthook: Any, kind: type[BaseException], error: BaseException, trace: Any) -> None:
    excepthook(kind, error, trace)
    agreement.mark_failed(130 if issubclass(kind, KeyboardInterrupt) else 1)


def _exit_if_failed() -> None:
    if not agreement.exit_codes:
        return
    index = _first_call[0].process_id
    process = "this process" if index is None else f"process {index} of {_first_call[0].num_processes}"
    print(f"{process} exits now; the other processes will exit, too", file=sys.stderr)
    if not index:  # process 0 runs the coordinator; None may be process 0
        time.sleep(_GRACE_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(agreement.exit_codes[0])
