"""The gradient checker: a package of its own that imports nothing from the rest of fnn and works on any JAX function.

>>> import jax, jax.numpy as jnp
>>> @jax.custom_vjp
... def log1pexp(x):
...     return jnp.logaddexp(x, 0.0)
>>> log1pexp.defvjp(lambda x: (jnp.logaddexp(x, 0.0), x), lambda x, ct: (ct * jax.nn.sigmoid(x),))
>>> assert_custom_vjp(log1pexp, (jnp.linspace(-3.0, 3.0, 8),), key=7).ok
True
"""

from fnn.gradcheck.assertions import assert_custom_vjp as assert_custom_vjp
from fnn.gradcheck.assertions import assert_grad as assert_grad
from fnn.gradcheck.assertions import assert_layer as assert_layer
from fnn.gradcheck.assertions import assert_loss as assert_loss
from fnn.gradcheck.assertions import assert_vjp as assert_vjp
from fnn.gradcheck.check import check_custom_vjp as check_custom_vjp
from fnn.gradcheck.check import check_grad as check_grad
from fnn.gradcheck.check import check_layer as check_layer
from fnn.gradcheck.check import check_loss as check_loss
from fnn.gradcheck.check import check_vjp as check_vjp
from fnn.gradcheck.report import GradientError as GradientError
from fnn.gradcheck.report import GradReport as GradReport
from fnn.gradcheck.report import LeafReport as LeafReport
