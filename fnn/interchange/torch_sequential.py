"""Networks as the state_dict of the same `nn.Sequential` of PyTorch, and back."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fnn import checks
from fnn.interchange.torch_modules import Arrays
from fnn.interchange.torch_plan import Node, plan
from fnn.types import Layer, Params


def torch_names(network: Layer, params: Params) -> dict[str, np.ndarray]:
    """Return the parameters with the names and in the layout of the same `nn.Sequential` of PyTorch.

    The module must have the same layers in the same order, also those without parameters, since its names count them:

        names = fnn.torch_names(fnn.mlp([4, 8, 3]), params)
        module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        module.load_state_dict({name: torch.from_numpy(value) for name, value in names.items()})

    | fnn | PyTorch |
    |---|---|
    | `serial`, `repeat` | `nn.Sequential`, also inside another |
    | `dense` | `nn.Linear` |
    | `conv1d`, `conv2d`, `conv2d_transpose` | `nn.Conv1d`, `nn.Conv2d`, `nn.ConvTranspose2d` |
    | `batch_norm`, `layer_norm`, `rms_norm` | `nn.BatchNorm1d` or `2d`, `nn.LayerNorm`, `nn.RMSNorm` |
    | `embedding` | `nn.Embedding` |
    | `lstm`, `gru`, `rnn`, `bidirectional` of two | `nn.LSTM`, `nn.GRU`, `nn.RNN` with `batch_first=True` |
    | activations, pooling, `flatten`, `dropout` | their modules, which have no entries |

    Images are (batch, height, width, channels) here and (batch, channels, height, width) in PyTorch: transpose the
    input. The weights after `flatten` are reordered accordingly, if a convolution comes before it; without one, the
    module must get the features in the order in which fnn gets them. PyTorch has no strided convolution with
    `padding="SAME"`, and `nn.LSTM` returns its memory beside its output.

    Args:
      network: the layer that the parameters are of.
      params: its parameters.

    Returns:
      Names and NumPy arrays, in the order of PyTorch's. They keep their dtypes, but bfloat16, which NumPy does not
      have, becomes float32.

    Raises:
      ValueError: if a layer has no twin in PyTorch, or params are not those of the network; the message names it.

    >>> import fnn
    >>> network = fnn.mlp([4, 8, 3])
    >>> names = torch_names(network, network.init(jax.random.key(0)))
    >>> {name: value.shape for name, value in names.items()}
    {'0.weight': (8, 4), '0.bias': (8,), '2.weight': (3, 8), '2.bias': (3,)}
    """
    node = plan("torch_names", network)
    like = _abstract(network)
    if jax.tree.structure(params) != jax.tree.structure(like):
        raise checks.fail("torch_names", "params", "the parameters of the network", came="a tree of another structure")
    for (path, leaf), expected in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(like), strict=True):
        if np.shape(leaf) != expected.shape:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise checks.fail("torch_names", f"the leaf {name!r} of params", f"of shape {expected.shape}", leaf)
    return _to_torch(node, jax.tree.map(_on_host, params))


def from_torch_names(network: Layer, state_dict: Mapping[str, Any]) -> Params:
    """Return the parameters of a network from the state_dict of the same `nn.Sequential`: the inverse of `torch_names`.

    Args:
      network: the layer.
      state_dict: names and arrays, or tensors of PyTorch: `module.state_dict()`.

    Returns:
      The parameters, as JAX arrays.

    Raises:
      ValueError: if a layer has no twin in PyTorch, or names or shapes are others than those of the network.

    >>> import fnn
    >>> from_torch_names(fnn.dense(2, 1), {"weight": np.array([[3.0, 4.0]]), "bias": np.array([5.0])}).w.tolist()
    [[3.0], [4.0]]
    """
    node = plan("from_torch_names", network)
    if not isinstance(state_dict, Mapping):
        raise checks.fail("from_torch_names", "state_dict", "a mapping of names to arrays", state_dict, TypeError)
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), _abstract(network))
    expected, counted = _to_torch(node, blank), "num_batches_tracked"
    missing = [name for name in expected if name not in state_dict and not name.endswith(counted)]
    unknown = [name for name in state_dict if name not in expected]
    if missing or unknown:
        parts = [
            f"{kind} {', '.join(names[:5])}{', …' * (len(names) > 5)}"
            for kind, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise checks.fail("from_torch_names", "state_dict", "that of the same nn.Sequential", came=" and ".join(parts))
    arrays = {name: _from_tensor(value) for name, value in state_dict.items() if not name.endswith(counted)}
    for name, array in arrays.items():
        if array.shape != expected[name].shape:
            raise checks.fail("from_torch_names", f"state_dict[{name!r}]", f"of shape {expected[name].shape}", array)
    return jax.tree.map(jnp.asarray, _from_torch(node, arrays))


def _abstract(network: Layer) -> Params:
    return jax.eval_shape(network.init, jax.random.key(0))


def _on_host(leaf: Array) -> np.ndarray:
    array = np.asarray(leaf)
    return array.astype(np.float32) if array.dtype == jnp.bfloat16 else array


def _from_tensor(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a tensor of PyTorch
        value = value.detach().cpu()
        return (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
    return np.asarray(value)


def _to_torch(node: Node, params: Params) -> Arrays:
    if node.module is not None:
        entries = node.module.to_torch(params)
        return {f"{node.prefix}{name}": np.array(value, order="C") for name, value in entries.items()}
    entries = {}
    for i, inner in enumerate(node.nodes):
        entries |= _to_torch(inner, jax.tree.map(lambda leaf: leaf[i], params) if node.copies else params[i])  # noqa: B023
    return entries


def _from_torch(node: Node, arrays: Arrays) -> Params:
    if node.module is not None:
        size = len(node.prefix)
        return node.module.from_torch({n[size:]: value for n, value in arrays.items() if n.startswith(node.prefix)})
    parts = [_from_torch(inner, arrays) for inner in node.nodes]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *parts) if node.copies else tuple(parts)
