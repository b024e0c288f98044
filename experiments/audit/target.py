"""A call whose gradient is audited: a public function, the domains of its arguments, and what it computes exactly.

>>> from experiments.audit.domains import positive, real
>>> Target("jax.numpy.logaddexp", (real(), real())).name
'jax.numpy.logaddexp'
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Domain(NamedTuple):
    """The values that an argument may have."""

    draw: Callable[[np.random.Generator], Any]
    """Draws a value: a NumPy array, or a tree of arrays."""
    inside: Callable[[Any], Any] | None = None
    """A predicate of JAX arrays that must hold for all entries. None: every finite value."""
    differentiated: bool = True
    """False for arguments without a gradient: integers, keys, strings, shapes."""


class Target(NamedTuple):
    """One call to audit: `function(*args, **options)`, or `call(function, *args)`."""

    path: str
    """The dotted path of the public function, such as "jax.numpy.logaddexp"."""
    args: tuple[Domain, ...]
    options: Mapping[str, Any] = {}
    """Static keyword arguments."""
    call: Callable[..., Any] | None = None
    """(function, *args) -> the output, where the call is not `function(*args, **options)`, as for a layer."""
    exact: Callable[..., Any] | None = None
    """The same function of mpmath's numbers, for functions that work entry by entry: (mpmath, *numbers) -> a number."""
    label: str = ""
    """Tells apart several calls of one function, such as "axis=0"."""

    @property
    def name(self) -> str:
        """The path and the label."""
        return f"{self.path}({self.label})" if self.label else self.path

    def function(self) -> Callable[..., Any]:
        """Import the public function."""
        module, _, rest = self.path.rpartition(".")
        try:
            return getattr(importlib.import_module(module), rest)
        except ModuleNotFoundError:  # an attribute of a class
            outer, _, name = module.rpartition(".")
            return getattr(getattr(importlib.import_module(outer), name), rest)
