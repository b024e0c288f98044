"""Export and import parameters as safetensors files, for other tools."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fnn import checks
from fnn.checkpoint import atomic, tensors
from fnn.checkpoint.regular_files import DamagedError, file_kind, read_regular
from fnn.dtypes import is_key
from fnn.hashing import sha256
from fnn.layers.architecture import architecture_of
from fnn.types import Layer, Params

# the hash is stored under two names, so that one flipped bit in a name cannot disable the verification
_HASHES = ("fnn.sha256", "fnn.sha256.again")
_NETWORK, _NOTES = "fnn.network", "fnn.notes"  # entries of the metadata


def export_params(path: str | Path, params: Params, network: Layer | None = None) -> None:
    """Write parameters to a safetensors file.

    The write is atomic and durable: after a failure, a previous file of that name is unchanged. The file's metadata
    hold a SHA-256 of names, shapes, dtypes and values, which `import_params` verifies.

    Args:
      path: the file to write or replace.
      params: a tree of arrays. Each is stored under its key path, such as `layers.0.w`.
      network: the layer that the parameters are of. If it is given, the metadata describe it too: its layers and their
        arguments, for people to read with `architecture`. They are covered by a SHA-256 of their own.

    Raises:
      OSError: if the file cannot be written.
      TypeError: if a leaf is not an array of a dtype that safetensors can store, or is a PRNG key.
      ValueError: if two leaves have one name, if safetensors cannot hold a name, or if `path` is not that of a file.

    >>> import fnn, jax, tempfile
    >>> params = fnn.dense(3, 2).init(jax.random.key(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_params(f"{folder}/params.safetensors", params)
    ...     import_params(f"{folder}/params.safetensors", params).w.shape
    (3, 2)
    """
    write_params("export_params", path, params, network)


def write_params(
    function: str, path: str | Path, params: Params, network: Layer | None = None, notes: dict[str, Any] | None = None
) -> None:
    """`export_params` for a function of this name, with notes among the metadata: values that JSON can hold."""
    path = checks.path(function, "path", path)
    if os.path.exists(path) and (kind := file_kind(os.stat(path))):
        raise checks.fail(function, "path", "that of a file to write or to replace", came=f"{path}, {kind}")
    leaves = tensors.named_leaves(function, "params", params)
    for name, leaf in leaves.items():
        if is_key(leaf):
            raise checks.fail(function, f"the leaf {name!r} of params", "an array of numbers", leaf, TypeError)
    arrays = tensors.to_host(leaves)
    digest = tensors.digest(arrays)
    metadata: dict[str, str] = dict.fromkeys(_HASHES, digest)
    if network is not None:
        _check_network(function, network, arrays)
        metadata |= _hashed(_NETWORK, architecture_of(network))
    if notes is not None:
        metadata |= _hashed(_NOTES, notes)
    atomic.write_file(path, tensors.encode(arrays, metadata))


def _check_network(function: str, network: Layer, arrays: dict[str, np.ndarray]) -> None:
    """Raise ValueError if the parameters of this network have other names or shapes than these."""
    layer = checks.layer(function, "network", network)
    like = tensors.named_leaves(function, "network", jax.eval_shape(layer.init, jax.random.key(0)))
    for name in sorted(like.keys() | arrays.keys()):
        shapes = [tuple(leaves[name].shape) if name in leaves else None for leaves in (like, arrays)]
        if shapes[0] != shapes[1]:
            expected, got = (f"shape {shape}" if shape is not None else "no such leaf" for shape in shapes)
            raise checks.fail(
                function,
                "network",
                "the layer of these parameters",
                came=f"one with {expected} where params has {got}: {name!r}",
            )


def _hashed(entry: str, value: dict[str, Any]) -> dict[str, str]:
    """Return a value as metadata with a SHA-256 beside it."""
    text = json.dumps(value, ensure_ascii=False)
    return {entry: text, f"{entry}.sha256": sha256(text.encode())}


def architecture(path: str | Path) -> dict[str, Any]:
    """Return the architecture that `export_params` wrote into a file, if it was given the network.

    It says what the parameters are of, also where the code that built the network is lost. It is a description for
    people: to use the parameters, build the network in code and call `import_params`.

    Args:
      path: the file.

    Returns:
      A dict of `name`, `arguments`, `parameters` and, for combinators, `layers`.

    Raises:
      ValueError: if the file has no architecture.
      DamagedError: if the file is not a safetensors file, or the architecture differs from its hash.
      FileNotFoundError: if there is no such file.

    >>> import fnn, jax, tempfile
    >>> network = fnn.dense(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_params(f"{folder}/params.safetensors", network.init(jax.random.key(0)), network)
    ...     architecture(f"{folder}/params.safetensors")
    {'name': 'dense(3, 2)', 'arguments': {'n_in': 3, 'n_out': 2},
     'parameters': {'w': ['float32', [3, 2]], 'b': ['float32', [2]]}}
    """
    found = _entry("architecture", path, _NETWORK)
    if found is None:
        advice = "Pass the network to export_params."
        raise checks.fail("architecture", "path", "that of a file with an architecture", path, advice=advice)
    return found


def notes_of(function: str, path: str | Path) -> dict[str, Any] | None:
    """Return the notes that `write_params` wrote into a file; None if it has none."""
    return _entry(function, path, _NOTES)


def _entry(function: str, path: str | Path, entry: str) -> dict[str, Any] | None:
    """Return a value of `_hashed` from the metadata of a file, verified; None if there is none."""
    data, source = _read(function, path)
    tensors.decode(data, source)
    metadata = tensors.metadata_of(data)
    names = entry, f"{entry}.sha256"
    if not any(name in metadata for name in names):
        return None
    text, digest = (metadata.get(name, "") for name in names)
    if sha256(text.encode()) != digest:
        raise DamagedError(f"{function}: the entry {entry!r} of {source} does not have its SHA-256")
    return json.loads(text)


def _read(function: str, path: str | Path) -> tuple[bytes, str]:
    """Return the bytes of a file, and its name for errors."""
    path = checks.path(function, "path", path)
    os.stat(path)  # raises FileNotFoundError
    real = path.resolve()  # the caller may name a link
    return read_regular(real.parent, real.name), str(path)


def import_params(path: str | Path, like: Params) -> Params:
    """Read parameters from a safetensors file.

    The values of files that `export_params` wrote are verified. Files of other tools carry no hash.

    Args:
      path: the file.
      like: a tree with the expected names, shapes and dtypes, for example `network.init(key)`.

    Returns:
      A tree of the form of `like`.

    Raises:
      ValueError: if names, shapes or dtypes differ from `like`; the message names the leaf.
      DamagedError: if the file is not a safetensors file, or differs from its hash. It is a ValueError.
      FileNotFoundError: if there is no such file.

    >>> import fnn, jax, tempfile
    >>> params = fnn.dense(3, 2).init(jax.random.key(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_params(f"{folder}/params.safetensors", params)
    ...     import_params(f"{folder}/params.safetensors", fnn.dense(4, 2).init(jax.random.key(0)))
    Traceback (most recent call last):
        ...
    ValueError: import_params: the leaf 'w' of like must be float32 of shape (3, 2), as in ..., got ...
    """
    data, source = _read("import_params", path)
    arrays = tensors.decode(data, source)
    metadata = tensors.metadata_of(data)
    recorded = {metadata[name] for name in _HASHES if name in metadata}
    if recorded and recorded != {tensors.digest(arrays)}:
        raise DamagedError(f"import_params: {source} does not have the SHA-256 in its metadata")
    leaves = tensors.check_like("import_params", like, tensors.description(arrays), source)
    return tensors.rebuild("import_params", like, leaves, arrays)
