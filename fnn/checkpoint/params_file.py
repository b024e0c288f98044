"""Parameters as plain safetensors files, which other tools read and write."""

from pathlib import Path

from fnn import checks
from fnn.checkpoint import atomic, tensors
from fnn.checkpoint.tensors import DamagedError
from fnn.dtypes import is_key
from fnn.types import Params

_HASHES = ("fnn.sha256", "fnn.sha256.again")  # a flipped bit cannot make a file look like one without


def export_params(path: str | Path, params: Params) -> None:
    """Writes them, names being key paths such as `layers.0.w`; replaces a file of that name, durably, whole or not.

    The file's metadata hold a SHA-256 of names, shapes, dtypes and values, which `import_params` verifies.

    >>> import fnn, jax, tempfile
    >>> params = fnn.dense(3, 2).init(jax.random.key(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_params(f"{folder}/params.safetensors", params)
    ...     import_params(f"{folder}/params.safetensors", params).w.shape
    (3, 2)
    """
    leaves = tensors.named_leaves("export_params", "params", params)
    for name, leaf in leaves.items():
        if is_key(leaf):
            raise checks.fail("export_params", f"the leaf {name!r} of params", "an array of numbers", leaf, TypeError)
    arrays = tensors.to_host(leaves)
    digest = tensors.digest(arrays)
    atomic.write_file(Path(path), tensors.encode(arrays, dict.fromkeys(_HASHES, digest)))


def import_params(path: str | Path, like: Params) -> Params:
    """Parameters from a safetensors file, in the tree of `like` (such as `network.init(key)`).

    Names, shapes and dtypes must be those of `like`: a ValueError names the leaf that differs. DamagedError (a
    ValueError) if the file is not one of safetensors, or not what `export_params` wrote; files of other tools carry
    nothing to verify values by.
    """
    data = Path(path).read_bytes()
    arrays, source = tensors.decode(data, str(path)), str(path)
    metadata = tensors.metadata_of(data)
    said = {metadata[name] for name in _HASHES if name in metadata}
    if said and said != {tensors.digest(arrays)}:
        raise DamagedError(f"import_params: {source} does not hold what its SHA-256 says")
    leaves = tensors.check_like("import_params", like, tensors.description(arrays), source)
    return tensors.rebuild("import_params", like, leaves, arrays)
