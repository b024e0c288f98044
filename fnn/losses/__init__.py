"""Losses: a value per example, and under it the gradient for the prediction.

a is the prediction (z if it is a logit), y the target, and L the value of one example. `backward` takes the gradient
dL (batch,) of the cost with respect to the values. The mean over the batch is taken in `fnn.backprop`. For
`softmax_cross_entropy` and `sigmoid_cross_entropy` of (batch, k), the gradient of the mean is dZ = (A - Y) / m. Values
are computed in float32 at least. Losses on classes also take one class per position of a sequence: the value of an
example is then the mean over its positions.

>>> import jax.numpy as jnp
>>> values, residuals = squared_error.forward(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]]))
>>> values, squared_error.backward(residuals, jnp.ones(1))
(Array([2.5], dtype=float32), Array([[1., 2.]], dtype=float32))
"""

from fnn.losses.classes import negative_log_likelihood as negative_log_likelihood
from fnn.losses.classes import smoothed_cross_entropy as smoothed_cross_entropy
from fnn.losses.classes import softmax_cross_entropy as softmax_cross_entropy
from fnn.losses.entries import binary_cross_entropy as binary_cross_entropy
from fnn.losses.entries import sigmoid_cross_entropy as sigmoid_cross_entropy
from fnn.losses.entries import squared_error as squared_error
from fnn.losses.robust import huber as huber
from fnn.losses.tokens import token_cross_entropy as token_cross_entropy
