"""What a manifest may contain. A manifest with a fitting hash may still come from a fault or from somebody else."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from fnn.checkpoint.regular_files import DamagedError, is_plain_name
from fnn.checkpoint.split import split_folder_name

FORMAT = 1
STATE, TRAINING = "state.safetensors", "training.safetensors"

_MAX_DEPTH = 32
_MAX_COUNT = 2**31 - 1  # epochs and positions are int32
_DESCRIBED = ("network", "loss", "optimizer", "metrics")  # the texts of a fingerprint


class NewerFormatError(ValueError):
    """A newer version of fnn wrote the checkpoint. It is kept as it is; update fnn to read it."""


def parse(text: bytes, source: str) -> dict[str, Any]:
    """Return the content of a manifest whose hash was verified.

    Raises:
      NewerFormatError: if its format is newer than this version of fnn.
      DamagedError: if it is not a manifest; the message names the first bad entry.
    """
    try:
        manifest = json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # not JSON, a name twice in one object, or nested too deep
        raise DamagedError(f"{source} is not readable: {error}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if isinstance(found, int) and found > FORMAT:
        advice = "A newer version of fnn wrote it; update fnn to read it"
        raise NewerFormatError(f"{source}: format {found}; this version of fnn reads format {FORMAT}. {advice}")
    problem = _problem(manifest)
    if problem:
        raise DamagedError(f"{source}: {problem}")
    return manifest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, whose names must differ: which value counts would depend on the reader."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} occurs twice")
        found[name] = value
    return found


def _no_number(name: str) -> None:
    """Refuse NaN and infinities, which are not JSON and which `encode` does not write."""
    raise ValueError(f"{name} is not a number of JSON")


def _problem(manifest: Any) -> str:
    """Describe the first entry that is not as this format says; nothing if all are."""
    if not isinstance(manifest, dict) or _is_deep(manifest):
        return f"must be an object of JSON of at most {_MAX_DEPTH} levels"
    if not _is_count(manifest.get("format")) or manifest["format"] != FORMAT:
        return f"format {manifest.get('format')!r}; this version of fnn reads format {FORMAT}"
    trees, files = manifest.get("trees"), manifest.get("files")
    if not isinstance(trees, dict) or not all(map(_is_tree, trees.values())):
        return "trees must map the names of files to {leaf: [dtype, shape]}"
    if not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        return 'files must map names to {"sha256": text, "bytes": number}'
    if STATE not in trees or STATE not in files:
        return f"{STATE} must be listed"
    folders = {split_folder_name(name) for name in trees}
    for name in files:
        known = name in trees or name.partition("/")[0] in folders
        if not is_plain_name(name) or not known:
            return f"files must have plain relative names of the trees' files, got {name!r}"
    if not trees.keys() <= files.keys():
        return f"the files of the trees ({', '.join(trees)}) must be listed"
    versions = manifest.get("versions")
    if not isinstance(versions, dict) or not all(isinstance(version, str) for version in versions.values()):
        return "versions must map names to texts"
    return "" if manifest.get("training") is None else _training_problem(manifest)


def _training_problem(manifest: Mapping[str, Any]) -> str:
    """Describe the first bad entry of those that only checkpoints of `fit` have."""
    training, fingerprint = manifest["training"], manifest.get("configuration")
    if not isinstance(training, dict) or not all(_is_count(training.get(name)) for name in ("epoch", "position")):
        return "training must have the numbers epoch and position"
    score = training.get("score")
    if score is not None and not _is_number(score):
        return "training's score must be a number"
    if TRAINING not in manifest["trees"]:
        return f"{TRAINING} must be listed"
    if not isinstance(fingerprint, dict) or not _is_count(fingerprint.get("identity", 1)):
        return "configuration must be the fingerprint of a training"
    if not isinstance(fingerprint.get("code", {}), dict):
        return "configuration's code must map names to texts"
    if not all(isinstance(fingerprint.get(name), str) for name in _DESCRIBED) or "l2" not in fingerprint:
        return f"configuration must have l2 and the texts {', '.join(_DESCRIBED)}"
    return ""


def _is_number(value: Any) -> bool:
    """Return True for numbers that a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT


def _is_deep(value: Any) -> bool:
    """Return True if containers are nested in more than _MAX_DEPTH levels."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        inner = [part for part in level if isinstance(part, dict | list)]
        level = [part for outer in inner for part in (outer.values() if isinstance(outer, dict) else outer)]
    return any(isinstance(part, dict | list) for part in level)


def _is_entry(entry: Any) -> bool:
    size = entry.get("bytes") if isinstance(entry, dict) else None
    return isinstance(size, int) and not isinstance(size, bool) and size >= 0 and isinstance(entry.get("sha256"), str)


def _is_tree(tree: Any) -> bool:
    return isinstance(tree, dict) and all(
        isinstance(leaf, list) and len(leaf) == 2 and isinstance(leaf[0], str) and _is_shape(leaf[1])
        for leaf in tree.values()
    )


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(_is_entry({"bytes": size, "sha256": ""}) for size in shape)


def check_arrays(source: str, expected: Mapping[str, list], arrays: Mapping[str, Any], has_split: bool) -> None:
    """Check the arrays of a file against the manifest's description of their tree.

    Args:
      source: the file, for the message.
      expected: `{leaf: [dtype, shape]}`.
      arrays: the arrays of the file by name.
      has_split: whether other files hold the leaves that this one does not.

    Raises:
      DamagedError: if they differ; the message names the leaf.
    """
    unknown = [name for name in arrays if name not in expected]
    missing = [name for name in expected if name not in arrays and not has_split]
    if unknown or missing:
        raise DamagedError(f"{source}: the manifest and the file differ in the leaf {(unknown + missing)[0]!r}")
    for name, array in arrays.items():
        dtype, shape = expected[name]
        found = [str(array.dtype), list(array.shape)]
        if dtype.startswith("key<"):  # stored as raw data, with one more axis
            dtype, found = "uint32", [found[0], found[1][:-1]]
        if found != [dtype, shape]:
            raise DamagedError(f"{source}: the leaf {name!r} must be {dtype} {shape} as listed, got {found}")
