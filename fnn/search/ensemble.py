"""The ensemble: its predictions, and its files."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fnn import checks
from fnn.checkpoint import atomic
from fnn.checkpoint.params_file import export_params, import_params
from fnn.hashing import sha256
from fnn.search.records import Ensemble, Members
from fnn.search.scaling import Scaling, standardise

OUTPUTS = "softmax", "sigmoid", "identity"
ROWS = 4096  # predicted at a time


def activate(output: str, z: Float[np.ndarray, "*rows k"]) -> Float[np.ndarray, "*rows k"]:
    """Return the probabilities or quantities for the outputs z of networks."""
    if output == "identity":
        return z
    if output == "sigmoid":
        return _logistic(z)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _logistic(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z), without overflow"""
    return 0.5 + 0.5 * np.tanh(0.5 * z)


def _silu(z: np.ndarray) -> np.ndarray:
    return z * _logistic(z)


def predict(ensemble: Ensemble, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Predict probabilities of classes or labels, or quantities in their original units.

    p = Σ_m share_m f(A_m x + W_3m silu(W_1m x + b_1m) + c_m), where f is softmax, the logistic function or the identity

    It is computed in float64 by NumPy, some thousand rows at a time.

    Args:
      ensemble: the ensemble that a search found.
      x: numbers without NaN, with the columns that the search was given.

    Returns:
      float64 predictions. The probabilities of classes sum to 1.

    Raises:
      ValueError: if x does not have the number of columns of the ensemble, or is not finite.
    """
    x = table("search.predict", x)
    d = len(ensemble.center)
    if x.shape[1] != d:
        raise checks.fail("search.predict", "x", f"of shape (n, {d})", x)
    ensemble = ensemble._replace(members=Members(*(leaf.astype(np.float64) for leaf in ensemble.members)))
    parts = [_predict(ensemble, x[start : start + ROWS]) for start in range(0, max(1, len(x)), ROWS)]
    return np.concatenate(parts)


def _predict(ensemble: Ensemble, x: np.ndarray) -> np.ndarray:
    x = standardise(x, Scaling(ensemble.center, ensemble.scale, ensemble.reach))
    mean = np.zeros((len(x), len(ensemble.target_center)))
    members = ensemble.members
    for m, share in enumerate(ensemble.shares):
        units = np.flatnonzero(members.w_out[m].any(axis=1))
        hidden = _silu(x @ members.w_in[m][:, units] + members.b_in[m][units])
        z = x @ members.w_skip[m] + hidden @ members.w_out[m][units] + members.b_out[m]
        mean += share * activate(ensemble.output, z)
    return mean * ensemble.target_scale + ensemble.target_center


def table(function: str, x: np.ndarray) -> np.ndarray:
    """Return x as a float64 table (n, d) of finite numbers."""
    x = np.asarray(x)
    if x.ndim != 2 or x.dtype.kind not in "biuf":
        raise checks.fail(function, "x", "a table of numbers (n, d)", x)
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise checks.fail(function, "x", "finite", came=f"{x[row, column]} in row {row}, column {column}")
    return x


_TABLE, _MEMBERS = "ensemble.json", "ensemble.safetensors"
_NUMBERS = "center", "scale", "reach", "target_center", "target_scale", "shares"


def to_files(folder: str | Path, ensemble: Ensemble) -> None:
    """Write an ensemble into a folder: `ensemble.json` and `ensemble.safetensors`.

    The JSON file holds the standardisation and the shares, in full precision; the other holds the networks.

    Args:
      folder: the folder; it is made if there is none.
      ensemble: the ensemble.

    Raises:
      OSError: if a file cannot be written.
    """
    folder = checks.path("search.to_files", "folder", folder)
    folder.mkdir(parents=True, exist_ok=True)
    count, _, width = ensemble.members.w_in.shape
    numbers = {name: np.asarray(getattr(ensemble, name), np.float64).tolist() for name in _NUMBERS}
    export_params(folder / _MEMBERS, ensemble.members)
    digest = sha256((folder / _MEMBERS).read_bytes())
    head = {"output": ensemble.output, "members": count, "width": width, "sha256": digest}
    atomic.write_file(folder / _TABLE, json.dumps(head | numbers, indent=1).encode())


def from_files(folder: str | Path) -> Ensemble:
    """Read the ensemble that `to_files` wrote.

    Args:
      folder: the folder.

    Raises:
      ValueError: if a file is damaged, or the files do not belong together.
      FileNotFoundError: if a file is missing.
    """
    folder = checks.path("search.from_files", "folder", folder)
    source = folder / _TABLE
    try:
        head = json.loads(source.read_text("utf-8"))
        output, m, h, digest = head["output"], int(head["members"]), int(head["width"]), head["sha256"]
        numbers = {name: np.array(head[name], np.float64) for name in _NUMBERS}
        valid = output in OUTPUTS and all(values.ndim == 1 and np.isfinite(values).all() for values in numbers.values())
        d, k = len(numbers["center"]), len(numbers["target_center"])
        valid &= tuple(len(numbers[name]) for name in _NUMBERS) == (d, d, d, k, k, m)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise checks.fail("search.from_files", str(source), "as to_files wrote it", came=f"{error!r}") from None
    if not valid:
        raise checks.fail("search.from_files", str(source), "as to_files wrote it", came="other contents")
    if sha256((folder / _MEMBERS).read_bytes()) != digest:
        raise checks.fail("search.from_files", _MEMBERS, f"the file whose SHA-256 {_TABLE} holds", came="another")
    shapes = (m, d, k), (m, d, h), (m, h), (m, h, k), (m, k)
    like = jax.eval_shape(lambda: Members(*(jnp.zeros(shape, jnp.float32) for shape in shapes)))  # pyright: ignore[reportArgumentType]
    members = Members(*map(np.asarray, import_params(folder / _MEMBERS, like)))
    return Ensemble(output=output, members=members, **numbers)
