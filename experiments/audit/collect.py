"""The calls to audit: those of all modules in `targets`, and which of them this installation lacks."""

import functools
import hashlib
import importlib
import importlib.util
import pkgutil
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from experiments.audit import targets
from experiments.audit.target import Target


class Collected(NamedTuple):
    """The targets by name, and what cannot be audited here."""

    targets: dict[str, Target]
    sources: dict[str, str]
    """For each target, a hash of the module that lists it."""
    skipped: dict[str, str]
    """For each target or module of targets that cannot be audited here, the reason."""


@functools.cache
def collect() -> Collected:
    """Import all modules of `targets`. Those that need a package which is not installed are skipped by name."""
    found, sources, skipped = {}, {}, {}
    for module in sorted(pkgutil.iter_modules(targets.__path__), key=lambda module: module.name):
        name = f"{targets.__name__}.{module.name}"
        try:
            listed = importlib.import_module(name).TARGETS
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("experiments"):
                raise
            skipped[module.name] = f"needs {error.name}, which is not installed"
            continue
        spec = importlib.util.find_spec(name)
        text = Path(spec.origin).read_bytes() if spec and spec.origin else b""
        for target in listed:
            if target.name in found:
                raise ValueError(f"{name}: the names of targets must differ, got {target.name} twice; give it a label")
            found[target.name], sources[target.name] = target, hashlib.sha256(text).hexdigest()[:16]
            if importlib.util.find_spec(library(target)) is None:
                skipped[target.name] = f"{library(target)} is not installed"
    return Collected(found, sources, skipped)


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


def fingerprint(target: Target) -> dict[str, str]:
    """Return what the result of a target depends on: versions of packages, and hashes of sources."""
    packages = dict.fromkeys([library(target), "jax", "jaxlib", "numpy", "mpmath"])
    versions = {package: version(package) for package in packages}
    return versions | {"target": collect().sources[target.name], "audit": machinery()}
