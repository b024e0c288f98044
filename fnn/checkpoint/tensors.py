"""Trees of arrays as the bytes of a safetensors file, a name per leaf: its key path, such as `layers.0.w`."""

import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fnn import checks
from fnn.checkpoint.atomic import sha256
from fnn.dtypes import is_key
from fnn.sharding import agreement

Description = dict[str, list]
"""name -> [dtype, shape], what JSON can hold of a tree."""

_DTYPES = {  # how safetensors calls them; what is not here it cannot hold
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


class DamagedError(ValueError):
    """A file does not hold what was written into it."""


def named_leaves(function: str, argument: str, tree: PyTree) -> dict[str, Any]:
    """The leaves by name; each an array of a dtype that files can hold, no two of one name.

    >>> list(named_leaves("save", "tree", {"layers": [{"w": jnp.ones(2)}]}))
    ['layers.0.w']
    """
    leaves: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "value"
        if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")):
            raise checks.fail(function, f"the leaf {name!r} of {argument}", "an array", leaf, TypeError)
        if name in leaves:
            raise checks.fail(function, argument, "of leaves with names of their own", came=f"two named {name!r}")
        if not is_key(leaf) and str(leaf.dtype) not in _DTYPES.values():
            expected = f"of a dtype that safetensors can hold ({', '.join(_DTYPES.values())})"
            raise checks.fail(function, f"the leaf {name!r} of {argument}", expected, leaf, TypeError)
        leaves[name] = leaf
    return leaves


def description(leaves: dict[str, Any]) -> Description:
    """What each leaf is, in a form that survives JSON."""
    return {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in leaves.items()}


def to_host(leaves: dict[str, Any]) -> dict[str, np.ndarray]:
    """The leaves in the host's memory, keys as their data."""
    raw = {name: jax.random.key_data(leaf) if is_key(leaf) else leaf for name, leaf in leaves.items()}
    # in C order: safetensors writes memory as it lies, a transposed array would come back wrong without a word
    return {name: np.array(leaf, order="C", copy=None) for name, leaf in jax.device_get(raw).items()}


def encode(arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file."""
    from safetensors.numpy import save

    return save(arrays, metadata)


def decode(data: bytes, source: str) -> dict[str, np.ndarray]:
    """The arrays in the bytes of a safetensors file; DamagedError names the source."""
    from safetensors import SafetensorError, deserialize

    try:
        return {
            name: np.frombuffer(part["data"], jnp.dtype(_DTYPES[part["dtype"]])).reshape(part["shape"])
            for name, part in deserialize(data)
        }
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DamagedError(f"{source} is not a readable safetensors file: {error}") from error


def metadata_of(data: bytes) -> dict[str, str]:
    """The text that a safetensors file, one that `decode` took, carries beside its arrays."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__") or {}


def digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of names, dtypes, shapes and values."""
    parts = [json.dumps([*description({name: arrays[name]}).items()]).encode() for name in sorted(arrays)]
    values = [sha256(arrays[name].tobytes()).encode() for name in sorted(arrays)]
    return sha256(b"\n".join(parts + values))


def check_like(function: str, like: PyTree, stored: Description, source: str) -> dict[str, Any]:
    """The named leaves of `like`, if they are those stored; the error names the leaf that is not."""
    leaves = named_leaves(function, "like", like)
    expected = f"of the tree in {source}"
    unknown, missing = [n for n in leaves if n not in stored], [n for n in stored if n not in leaves]
    if unknown or missing:
        came = [
            f"{len(names)} leaves {what} ({', '.join(names[:5])}{', …' * (len(names) > 5)})"
            for names, what in ((unknown, "that are not there"), (missing, "too few"))
            if names
        ]
        raise checks.fail(function, "like", expected, came=" and ".join(came))
    for name, leaf in leaves.items():
        dtype, shape = stored[name]
        if [str(leaf.dtype), list(leaf.shape)] != [dtype, shape]:
            raise checks.fail(
                function, f"the leaf {name!r} of like", f"{dtype} of shape {tuple(shape)}, as in {source}", leaf
            )
    return leaves


def _implementation(key: Any) -> Any:
    """What draws from a typed key, of which only the dtype may be known."""
    if isinstance(key, jax.Array):
        return jax.random.key_impl(key)
    known = ("threefry2x32", "rbg", "unsafe_rbg")
    return next(impl for impl in known if jax.random.key(0, impl=impl).dtype == key.dtype)


def rebuild(function: str, like: PyTree, leaves: dict[str, Any], arrays: Mapping[str, Any]) -> PyTree:
    """The tree of `like` with the arrays' values, on the devices of its leaves where these are spread over several."""

    def put(name: str, leaf: Any) -> jax.Array:
        sharding = getattr(leaf, "sharding", None)
        spread = sharding is not None and len(sharding.device_set) > 1
        value = agreement.device_put(arrays[name], sharding) if spread else jnp.array(arrays[name])
        if is_key(leaf):
            return jax.random.wrap_key_data(value, impl=_implementation(leaf))
        if value.dtype != leaf.dtype:
            raise checks.fail(function, f"the leaf {name!r}", f"{leaf.dtype}, which needs jax_enable_x64", value)
        return value

    return jax.tree.unflatten(jax.tree.structure(like), [put(name, leaf) for name, leaf in leaves.items()])
