"""The calls to audit: those of all modules in `targets`, and which of them this installation lacks."""

import functools
import hashlib
import importlib
import importlib.util
import pkgutil
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from experiments.audit.target import Target
from experiments.errors import usage

TARGETS = "experiments.audit.targets"
"""The package of the targets."""


class Collected(NamedTuple):
    """The targets by name, and what cannot be audited here."""

    targets: dict[str, Target]
    keys: dict[str, dict[str, str]]
    """For each target what its result depends on: versions of packages, and hashes of sources."""
    skipped: dict[str, str]
    """For each target or module of targets that cannot be audited here, the reason."""


@functools.cache
def collect(package: str = TARGETS) -> Collected:
    """Import a module with a tuple TARGETS, or all such modules of a package. Skip those that need what is missing.

    Raises:
      ModuleNotFoundError: if the package itself does not exist.
      UsageError: if a module has no TARGETS.
      ValueError: if two targets have the same name.
    """
    root = importlib.import_module(package)
    inner = sorted(module.name for module in pkgutil.iter_modules(getattr(root, "__path__", [])))
    found, keys, skipped = {}, {}, {}
    for name in [f"{package}.{name}" for name in inner] if inner else [package]:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if importlib.util.find_spec((error.name or "").partition(".")[0] or name) is not None:
                raise
            skipped[name.rpartition(".")[2]] = f"needs {error.name}, which is not installed"
            continue
        if not hasattr(module, "TARGETS"):
            raise usage("--targets", "a module with a tuple TARGETS, or a package of them", name)
        source = hashlib.sha256(Path(module.__file__ or "").read_bytes()).hexdigest()[:16]
        for target in module.TARGETS:
            if target.name in found:
                raise ValueError(f"{name}: the names of targets must differ, got {target.name} twice; give it a label")
            found[target.name], keys[target.name] = target, _key(target, source)
            if importlib.util.find_spec(library(target)) is None:
                skipped[target.name] = f"{library(target)} is not installed"
    return Collected(found, keys, skipped)


def _key(target: Target, source: str) -> dict[str, str]:
    packages = dict.fromkeys([library(target), "jax", "jaxlib", "numpy", "mpmath"])
    return {package: version(package) for package in packages} | {"target": source, "audit": machinery()}


def library(target: Target) -> str:
    """Return the package of a target's function.

    >>> library(Target("jax.numpy.sin", ()))
    'jax'
    """
    return target.path.partition(".")[0]


@functools.cache
def version(package: str) -> str:
    """Return the version of an installed package, or "" if it has none.

    >>> version("no_such_package")
    ''
    """
    try:
        return metadata.version(package.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return ""


@functools.cache
def machinery() -> str:
    """Return a hash of the sources on which a verdict depends, besides those of the targets: audit and checker."""
    import fnn.gradcheck

    folders = [Path(__file__).parent, Path(fnn.gradcheck.__file__).parent]
    files = sorted(path for folder in folders for path in folder.glob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]
