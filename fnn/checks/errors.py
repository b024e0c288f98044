"""The error that a check raises: what a function expects, and what it got."""

from typing import Any


def describe(value: Any) -> str:
    """Describe a value for an error message.

    An array is described by dtype and shape, anything else by type and repr.

    >>> import jax.numpy as jnp
    >>> describe(jnp.zeros((3, 4)))
    'float32 of shape (3, 4)'
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"


def fail(
    function: str,
    argument: str,
    expected: str,
    got: Any = None,
    error: type[Exception] = ValueError,
    *,
    came: str | None = None,
    advice: str | None = None,
) -> Exception:
    """Return the error to raise: `function: argument must be expected, got …`.

    Args:
      function: the public function that the user called.
      argument: its argument.
      expected: what the argument must be.
      got: the value that the user passed.
      error: the type of the error.
      came: a text to use in place of the description of `got`.
      advice: one more sentence that says what to do.

    >>> fail("dense", "n_in", "a positive integer", 0)
    ValueError('dense: n_in must be a positive integer, got int 0')
    """
    message = f"{function}: {argument} must be {expected}, got {describe(got) if came is None else came}"
    return error(message if advice is None else f"{message}. {advice}")
