"""How one process becomes one of several, and how it ends so that the others notice.

JAX's coordinator, in process 0, knows who is there: all register with it, and give it signs of life.
"""

import atexit
import functools
import os
import socket
import sys
import threading
import time
from typing import Any

import jax
import numpy as np

from fnn import checks
from fnn.sharding import agreement

COORDINATOR, PROCESSES, PROCESS_ID = "FNN_COORDINATOR", "FNN_PROCESSES", "FNN_PROCESS_ID"
_GRACE_SECONDS = 2.0  # how much longer the coordinator lives than the others, so that these end by their own errors
_VARIABLES = (COORDINATOR, PROCESSES, PROCESS_ID)

_begun: list[tuple[Any, ...]] = []  # the arguments of the call that started this process


def _from_environment(argument: str, value: Any, variable: str) -> Any:
    """The argument, or what the environment variable says, as a number where it is one; None where neither does."""
    if value is not None or not os.environ.get(variable):
        return value
    text = os.environ[variable]
    if variable == COORDINATOR:
        return text
    if not text.isdecimal():
        raise checks.fail("initialize", f"{argument} ({variable})", "a number", came=repr(text))
    return int(text)


def _checked(coordinator_address: Any, num_processes: Any, process_id: Any) -> tuple[Any, Any, Any]:
    """The three, each right or None."""
    address = _from_environment("coordinator_address", coordinator_address, COORDINATOR)
    count = _from_environment("num_processes", num_processes, PROCESSES)
    number = _from_environment("process_id", process_id, PROCESS_ID)
    if address is not None:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise checks.fail("initialize", "coordinator_address", "'host:port'", address)
    if count is not None:
        count = checks.positive_int("initialize", "num_processes", count)
    if number is not None:
        within = "an integer of at least 0" if count is None else f"an integer in 0..{count - 1}"
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise checks.fail("initialize", "process_id", within, number, TypeError)
        if number < 0 or (count is not None and number >= count):
            raise checks.fail("initialize", "process_id", within, number)
        number = int(number)
    return address, count, number


def initialize(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_timeout_seconds: int = 20,
    initialization_timeout: int = 120,
) -> None:
    """Makes this process one of several that train together: `jax.distributed.initialize`, before JAX is used.

    coordinator_address   host:port, where process 0 listens and all can reach it; else FNN_COORDINATOR
    num_processes         how many there are; else FNN_PROCESSES
    process_id            which one this is, from 0; else FNN_PROCESS_ID

    What neither an argument nor a variable says JAX finds out itself: under SLURM, Open MPI, Kubernetes and on TPU
    pods nothing needs to be given. On CPUs the processes talk over TCP (gloo). A second call does nothing.

    TimeoutError if not all of them have come within `initialization_timeout` seconds. A process that dies later ends
    the others: at once where they wait for its numbers, with the JaxRuntimeError of what they were computing (`fit`:
    LostProcessError); otherwise within `heartbeat_timeout_seconds` of its last sign of life, when JAX says so and
    aborts (exit code 134, SIGABRT). So does one that ends by an uncaught exception, and a pause of the machine that
    is longer. SIGTERM keeps its meaning, `fit`'s stop in good order: JAX's own notice of it
    (jax_enable_preemption_service) is turned off.

        for i in 1 2 3; do FNN_COORDINATOR=localhost:9876 FNN_PROCESSES=4 FNN_PROCESS_ID=$i python script.py & done
        FNN_COORDINATOR=localhost:9876 FNN_PROCESSES=4 FNN_PROCESS_ID=0 python script.py; wait
    """
    heartbeat = checks.positive_int("initialize", "heartbeat_timeout_seconds", heartbeat_timeout_seconds)
    patience = checks.positive_int("initialize", "initialization_timeout", initialization_timeout)
    given = _checked(coordinator_address, num_processes, process_id)
    if jax.distributed.is_initialized():
        if _begun and any(new is not None and new != old for new, old in zip(given, _begun[0], strict=True)):
            raise checks.fail("initialize", "the arguments", f"those of the first call, {_begun[0]}", came=str(given))
        return
    _start(given, heartbeat, patience)
    _begun.append(given)
    atexit.register(_leave)  # called before JAX's own, which would wait for the others
    sys.excepthook = functools.partial(_uncaught, sys.excepthook)
    agreement.all_max(0)  # they connect now, while they wait for each other: later one may be long at its own rows


def _start(given: tuple[Any, Any, Any], heartbeat: int, patience: int) -> None:
    """JAX's start, in a thread: where not all come, it would end the process without an exception."""
    preemption = getattr(jax.config, "jax_enable_preemption_service")  # noqa: B009 (pyright does not see the attribute)
    errors: list[Exception] = []

    def connect() -> None:
        try:
            jax.distributed.initialize(
                *given,
                initialization_timeout=patience + 60,
                heartbeat_timeout_seconds=heartbeat,
            )
        except Exception as error:
            errors.append(error)

    jax.config.update("jax_enable_preemption_service", False)
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(patience)
    if thread.is_alive():
        raise TimeoutError(_missing(given, patience))
    jax.config.update("jax_enable_preemption_service", preemption)
    if not errors:
        return
    error, message = errors[0], str(errors[0])
    if "before any JAX c" in message:
        raise RuntimeError("initialize: it must be called before JAX is first used, got a JAX in use") from error
    if None in given and isinstance(error, ValueError):
        names = ("coordinator_address", "num_processes", "process_id")
        missing, variable = next(
            pair for pair, value in zip(zip(names, _VARIABLES, strict=True), given, strict=True) if value is None
        )
        expected = f"given, here or in {variable}, where JAX knows no cluster to ask"
        raise checks.fail("initialize", missing, expected, came="None") from error
    raise RuntimeError(f"initialize: JAX could not start with {given}: {message}") from error


def _missing(given: tuple[Any, Any, Any], patience: int) -> str:
    """Who has not come, as far as this process can tell."""
    address, count, number = given
    who = "initialize: this process" if number is None else f"initialize: process {number}"
    all_of_them = "all processes" if count is None else f"all {count} processes"
    message = f"{who} has waited {patience} s for {all_of_them} to come to {address}"
    if address is None or number == 0:
        return message
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
            return f"{message}: process 0 is there, another one is not"
    except OSError as error:
        return f"{message}, where process 0 should listen: {error.strerror or error}"


def _uncaught(before: Any, kind: type[BaseException], error: BaseException, trace: Any) -> None:
    before(kind, error, trace)
    agreement.mark_failed(130 if issubclass(kind, KeyboardInterrupt) else 1)


def _leave() -> None:
    if not agreement.failed:
        return
    _, count, number = _begun[0]
    who = "this process" if number is None else f"process {number} of {count}"
    print(f"{who} ends here, and so will the others", file=sys.stderr)
    if not number:  # the coordinator, as far as is known
        time.sleep(_GRACE_SECONDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(agreement.failed[0])
