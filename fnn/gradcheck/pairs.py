"""Complex arrays as pairs of real ones, in which every check computes.

A complex array z = x + i y of shape S is the real array (x, y) of shape (*S, 2). A gradient of it is the complex array

    g = p - i q,   p = ∂φ/∂x,   q = ∂φ/∂y,   φ real

in JAX's convention, and its pair is (p, q). The cotangent c - i d of a complex output u + i v stands for the function
c u + d v, and its pair is (c, d). Hence a vector-Jacobian product is Jᵀȳ of the real Jacobian of the pairs, whatever
the function: for a holomorphic one it is f'(z) ȳ, without a conjugate.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.gradcheck.report import LeafReport


def is_complex(dtype) -> bool:
    """Return True for a complex dtype."""
    return jnp.issubdtype(dtype, np.complexfloating)


def pair(z) -> jax.Array:
    """Return the pair (x, y) of a complex array x + i y; of a real array, the array itself."""
    z = jnp.asarray(z)
    return jnp.stack([jnp.real(z), jnp.imag(z)], -1) if is_complex(z.dtype) else z


def value(x, dtype) -> Any:
    """Return the complex array whose pair is `x` if `dtype` is complex, else `x`."""
    if not is_complex(dtype):
        return x
    return x[..., 0] + 1j * x[..., 1] if isinstance(x, np.ndarray) else jax.lax.complex(x[..., 0], x[..., 1])


def gradient_pair(g, dtype) -> Any:
    """Return the pair (p, q) of the gradient p - i q of a leaf of a complex dtype; of a real leaf, the gradient itself.

    A real gradient of a complex leaf gets one part, so that its shape shows the error.
    """
    if g is None or not is_complex(dtype):
        return g
    return pair(jnp.conj(g)) if is_complex(jnp.result_type(g)) else jnp.asarray(g)[..., None]


def covector(x, dtype) -> Any:
    """Return the gradient or cotangent p - i q whose pair is `x` if `dtype` is complex, else `x`."""
    return jnp.conj(value(x, dtype)) if is_complex(dtype) else x


def numbers(leaf: LeafReport, g: np.ndarray) -> np.ndarray:
    """Return a gradient of a leaf as the user knows it: p - i q if the leaf is complex."""
    return g[..., 0] - 1j * g[..., 1] if is_complex(leaf.dtype) else g


def elements(leaf: LeafReport, mask: np.ndarray) -> np.ndarray:
    """Return which elements of a leaf have a part in a mask."""
    return np.asarray(mask.any(-1)) if is_complex(leaf.dtype) else mask


def part(leaf: LeafReport, flat: int | None, number: float) -> str:
    """Return one part of a gradient as text, with a j after an imaginary part. `flat` is None for a direction."""
    imaginary = flat is not None and is_complex(leaf.dtype) and flat % 2
    return f"{-number:.6g}j" if imaginary else f"{number:.6g}"


def index_in(leaf: LeafReport, flat: int) -> tuple[int, ...]:
    """Return the index in a leaf of a position in its flattened array, or in its flattened pair if it is complex."""
    return index_of(flat // 2 if is_complex(leaf.dtype) else flat, leaf.shape)


def positions(leaf: LeafReport, index: tuple[int, ...]) -> list[int]:
    """Return the positions in the flattened array of a leaf, or in its flattened pair, of an element."""
    flat = int(np.ravel_multi_index(index, leaf.shape)) if index else 0
    return [2 * flat, 2 * flat + 1] if is_complex(leaf.dtype) else [flat]


def index_of(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index that corresponds to a position in the flattened array."""
    return tuple(int(i) for i in np.unravel_index(flat, shape))
