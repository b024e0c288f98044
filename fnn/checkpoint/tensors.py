"""Trees of arrays as the bytes of a safetensors file.

Each leaf is stored under its key path, such as `layers.0.w`.
"""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fnn import checks
from fnn.checkpoint.regular_files import DamagedError as DamagedError
from fnn.dtypes import is_key
from fnn.hashing import sha256, sha256_array
from fnn.sharding import agreement

Description = dict[str, list]
"""`{name: [dtype, shape]}`, the description of a tree that a manifest holds."""

_METADATA = "__metadata__"  # the name of safetensors' own entry
_DTYPES = {  # safetensors' name -> NumPy's; safetensors cannot store other dtypes
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
}


def named_leaves(function: str, argument: str, tree: PyTree) -> dict[str, Any]:
    """Return the leaves by name.

    All of them must be arrays that safetensors can store, with unique names that a safetensors file can hold.

    >>> list(named_leaves("save", "tree", {"layers": [{"w": jnp.ones(2)}]}))
    ['layers.0.w']
    """
    leaves: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "value"
        if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")):
            raise checks.fail(function, f"the leaf {name!r} of {argument}", "an array", leaf, TypeError)
        if name == _METADATA or not _is_unicode(name):
            expected = f"a tree whose leaves have names that safetensors can hold (Unicode text, not {_METADATA!r})"
            raise checks.fail(function, argument, expected, came=f"one named {name!r}")
        if name in leaves:
            raise checks.fail(function, argument, "a tree whose leaves have unique names", came=f"two named {name!r}")
        if not is_key(leaf) and str(leaf.dtype) not in _DTYPES.values():
            expected = f"of a dtype that safetensors can store ({', '.join(_DTYPES.values())})"
            raise checks.fail(function, f"the leaf {name!r} of {argument}", expected, leaf, TypeError)
        leaves[name] = leaf
    return leaves


def _is_unicode(name: str) -> bool:
    """Return False for text with half of a surrogate pair, which no file can hold."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def description(leaves: dict[str, Any]) -> Description:
    """Describe each leaf by dtype and shape, in types that JSON keeps."""
    return {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in leaves.items()}


def to_host(leaves: dict[str, Any]) -> dict[str, np.ndarray]:
    """Copy the leaves to the host's memory; PRNG keys become their raw data."""
    raw = {name: jax.random.key_data(leaf) if is_key(leaf) else leaf for name, leaf in leaves.items()}
    # C order: safetensors writes the raw memory, so a transposed array would silently be restored wrong
    return {name: np.array(leaf, order="C", copy=None) for name, leaf in jax.device_get(raw).items()}


def encode(arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a safetensors file with these arrays and this metadata."""
    from safetensors.numpy import save

    return save(arrays, metadata)


def decode(data: bytes, source: str) -> dict[str, np.ndarray]:
    """Return the arrays in the bytes of a safetensors file.

    The DamagedError of an unreadable file names `source`.
    """
    from safetensors import SafetensorError, deserialize

    try:
        return {
            name: np.frombuffer(part["data"], jnp.dtype(_DTYPES[part["dtype"]])).reshape(part["shape"])
            for name, part in deserialize(data)
        }
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DamagedError(f"{source} is not a readable safetensors file: {error}") from error


def metadata_of(data: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file that `decode` has read."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get(_METADATA) or {}


def digest(arrays: dict[str, np.ndarray]) -> str:
    """Return one SHA-256 over names, dtypes, shapes and values."""
    parts = [json.dumps([*description({name: arrays[name]}).items()]).encode() for name in sorted(arrays)]
    values = [sha256_array(arrays[name]).encode() for name in sorted(arrays)]
    return sha256(b"\n".join(parts + values))


def check_like(function: str, like: PyTree, stored: Description, source: str) -> dict[str, Any]:
    """Return the leaves of `like` by name, checked against the stored tree.

    Raises:
      ValueError: if they differ; the message names the leaves.
    """
    leaves = named_leaves(function, "like", like)
    expected = f"a tree like the one in {source}"
    unknown, missing = [n for n in leaves if n not in stored], [n for n in stored if n not in leaves]
    if unknown or missing:
        came = [_count(problem, names) for problem, names in (("unknown", unknown), ("missing", missing)) if names]
        raise checks.fail(function, "like", expected, came=" and ".join(came))
    for name, leaf in leaves.items():
        dtype, shape = stored[name]
        if [str(leaf.dtype), list(leaf.shape)] != [dtype, shape]:
            raise checks.fail(
                function, f"the leaf {name!r} of like", f"{dtype} of shape {tuple(shape)}, as in {source}", leaf
            )
    return leaves


def _count(problem: str, names: list[str]) -> str:
    noun = "leaf" if len(names) == 1 else "leaves"
    return f"{len(names)} {problem} {noun} ({', '.join(names[:5])}{', …' * (len(names) > 5)})"


def _implementation(key: Any) -> Any:
    """Return the PRNG implementation of a typed key, given at least its dtype."""
    if isinstance(key, jax.Array):
        return jax.random.key_impl(key)
    known = ("threefry2x32", "rbg", "unsafe_rbg")
    return next(impl for impl in known if jax.random.key(0, impl=impl).dtype == key.dtype)


def rebuild(function: str, like: PyTree, leaves: dict[str, Any], arrays: Mapping[str, Any]) -> PyTree:
    """Return the tree of `like` with the arrays' values.

    A leaf of `like` with a sharding over several devices passes its sharding on.
    """

    def to_device(name: str, leaf: Any) -> jax.Array:
        sharding = getattr(leaf, "sharding", None)
        if sharding is not None and len(sharding.device_set) > 1:
            value = agreement.device_put(arrays[name], sharding)
        else:
            value = jnp.array(arrays[name])
        if is_key(leaf):
            return jax.random.wrap_key_data(value, impl=_implementation(leaf))
        if value.dtype != leaf.dtype:
            raise checks.fail(function, f"the leaf {name!r}", f"{leaf.dtype}, which needs jax_enable_x64", value)
        return value

    return jax.tree.unflatten(jax.tree.structure(like), [to_device(name, leaf) for name, leaf in leaves.items()])
