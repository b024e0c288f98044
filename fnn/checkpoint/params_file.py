"""Export and import parameters as safetensors files, for other tools."""

import os
from pathlib import Path

from fnn import checks
from fnn.checkpoint import atomic, tensors
from fnn.checkpoint.regular_files import DamagedError, file_kind, read_regular
from fnn.dtypes import is_key
from fnn.types import Params

# the hash is stored under two names, so that one flipped bit in a name cannot disable the verification
_HASHES = ("fnn.sha256", "fnn.sha256.again")


def export_params(path: str | Path, params: Params) -> None:
    """Write parameters to a safetensors file.

    The write is atomic and durable: after a failure, a previous file of that name is unchanged. The file's metadata
    hold a SHA-256 of names, shapes, dtypes and values, which `import_params` verifies.

    Args:
      path: the file to write or replace.
      params: a tree of arrays. Each is stored under its key path, such as `layers.0.w`.

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
    path = checks.path("export_params", "path", path)
    if os.path.exists(path) and (kind := file_kind(os.stat(path))):
        raise checks.fail("export_params", "path", "that of a file to write or to replace", came=f"{path}, {kind}")
    leaves = tensors.named_leaves("export_params", "params", params)
    for name, leaf in leaves.items():
        if is_key(leaf):
            raise checks.fail("export_params", f"the leaf {name!r} of params", "an array of numbers", leaf, TypeError)
    arrays = tensors.to_host(leaves)
    digest = tensors.digest(arrays)
    atomic.write_file(path, tensors.encode(arrays, dict.fromkeys(_HASHES, digest)))


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
    path = checks.path("import_params", "path", path)
    os.stat(path)  # raises FileNotFoundError
    real = path.resolve()  # the caller may name a link
    data, source = read_regular(real.parent, real.name), str(path)
    arrays = tensors.decode(data, source)
    metadata = tensors.metadata_of(data)
    recorded = {metadata[name] for name in _HASHES if name in metadata}
    if recorded and recorded != {tensors.digest(arrays)}:
        raise DamagedError(f"import_params: {source} does not have the SHA-256 in its metadata")
    leaves = tensors.check_like("import_params", like, tensors.description(arrays), source)
    return tensors.rebuild("import_params", like, leaves, arrays)
