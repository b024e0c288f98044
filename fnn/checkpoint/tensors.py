"""Trees of arrays as the bytes of a safetensors file.

Each leaf is stored under its key path, such as `layers.0.w`.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fnn import checks, hashing
from fnn.checkpoint.regular_files import DamagedError as DamagedError
from fnn.dtypes import is_key
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
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


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


def _raw(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves with the raw data of PRNG keys in place of the keys."""
    return {name: jax.random.key_data(leaf) if is_key(leaf) else leaf for name, leaf in leaves.items()}


def to_host(leaves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the leaves in the host's memory, on the CPU without a copy; PRNG keys become their raw data."""
    return {name: np.asarray(leaf) for name, leaf in jax.device_get(_raw(leaves)).items()}


def copy_to_host(leaves: Mapping[str, Any], memory: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return copies of the leaves that nothing else writes into; PRNG keys become their raw data.

    On the CPU the host's memory is the device's, and programs write new values into what they are given. There the
    leaves are copied into the arrays of `memory`, which are replaced if they do not fit: memory that is in use already
    is written five times as fast as new memory.
    """
    raw = _raw(leaves)
    elsewhere = jax.device_get({name: leaf for name, leaf in raw.items() if _has_own_memory(leaf)})
    for name in [name for name in memory if name not in raw or name in elsewhere]:
        del memory[name]
    for name, leaf in raw.items():
        if name in elsewhere:
            continue
        held = memory.get(name)
        if held is None or (held.dtype, held.shape) != (leaf.dtype, leaf.shape):
            memory[name] = held = np.empty(leaf.shape, leaf.dtype)
        for index, part in _parts(leaf):
            held[index] = part
    return {name: elsewhere[name] if name in elsewhere else memory[name] for name in raw}


def _has_own_memory(leaf: Any) -> bool:
    """Return True for arrays on accelerators, whose values `device_get` always copies."""
    return isinstance(leaf, jax.Array) and all(device.platform != "cpu" for device in leaf.sharding.device_set)


def _parts(leaf: Any) -> list[tuple[Any, Any]]:
    """Return the places of the parts of a leaf and their values, which are not copied."""
    if not isinstance(leaf, jax.Array):
        return [(..., leaf)]
    shards = leaf.addressable_shards
    shards = shards[:1] if leaf.is_fully_replicated else [shard for shard in shards if shard.replica_id == 0]
    return [(shard.index, np.asarray(shard.data)) for shard in shards]


def encode(arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None) -> Iterator[Any]:
    """Yield the bytes of a safetensors file with these arrays and this metadata, in parts that need no memory."""
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so that each array is aligned
    header: dict[str, Any] = {} if metadata is None else {_METADATA: metadata}
    end = 0
    for name in names:
        begin, end = end, end + arrays[name].nbytes
        dtype, shape = _NAMES[str(arrays[name].dtype)], list(arrays[name].shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        yield from hashing.blocks(arrays[name])


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
    values = [hashing.sha256_array(arrays[name]).encode() for name in sorted(arrays)]
    return hashing.sha256(b"\n".join(parts + values))


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
