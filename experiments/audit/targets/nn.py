"""`jax.nn`: activations, normalisations and attention."""

import jax.numpy as jnp
import numpy as np

from experiments.audit.calls import with_keywords
from experiments.audit.domains import closed, fixed, nonnegative, positive, real
from experiments.audit.target import Target

MASK = fixed(np.array([[True, False, True], [True, True, False]]))
HEADS = real(3, 2, 2)

TARGETS = (
    Target("jax.nn.celu", (real(),)),
    Target("jax.nn.celu", (real(), positive(1)), label="alpha"),
    Target("jax.nn.elu", (real(),)),
    Target("jax.nn.elu", (real(), positive(1)), label="alpha"),
    Target("jax.nn.gelu", (real(),)),
    Target("jax.nn.gelu", (real(),), options={"approximate": False}, label="exact", exact=lambda mp, x: x * mp.ncdf(x)),
    Target("jax.nn.glu", (real(),)),
    Target("jax.nn.hard_sigmoid", (real(),)),
    Target("jax.nn.hard_silu", (real(),)),
    Target("jax.nn.hard_tanh", (real(),)),
    Target("jax.nn.identity", (real(),)),
    Target("jax.nn.leaky_relu", (real(),)),
    Target("jax.nn.leaky_relu", (real(), positive(1)), label="negative_slope"),
    Target("jax.nn.log1mexp", (positive(),), exact=lambda mp, x: mp.log(-mp.expm1(-x))),
    Target("jax.nn.log_sigmoid", (real(),), exact=lambda mp, x: -mp.log1p(mp.exp(-x))),
    Target("jax.nn.log_softmax", (real(),)),
    Target(
        "jax.nn.log_softmax", (real(2, 3), MASK), call=lambda f, x, m: jnp.where(m, f(x, where=m), 0.0), label="where"
    ),
    Target("jax.nn.logmeanexp", (real(),)),
    Target("jax.nn.logsumexp", (real(),)),
    Target("jax.nn.logsumexp", (real(), nonnegative()), call=with_keywords("b"), label="b"),
    Target("jax.nn.mish", (real(),), exact=lambda mp, x: x * mp.tanh(mp.log1p(mp.exp(x)))),
    Target("jax.nn.relu", (real(),)),
    Target("jax.nn.relu6", (real(),)),
    Target("jax.nn.selu", (real(),)),
    Target("jax.nn.sigmoid", (real(),), exact=lambda mp, x: 1 / (1 + mp.exp(-x))),
    Target("jax.nn.silu", (real(),), exact=lambda mp, x: x / (1 + mp.exp(-x))),
    Target("jax.nn.soft_sign", (real(),)),
    Target("jax.nn.softmax", (real(),)),
    Target("jax.nn.softmax", (real(2, 3),), options={"axis": 0}, label="axis=0"),
    Target("jax.nn.softmax", (real(2, 3), MASK), call=with_keywords("where"), label="where"),
    Target("jax.nn.softplus", (real(),), exact=lambda mp, x: mp.log1p(mp.exp(x))),
    Target("jax.nn.sparse_plus", (real(),)),
    Target("jax.nn.sparse_sigmoid", (real(),)),
    Target("jax.nn.squareplus", (real(),)),
    Target("jax.nn.squareplus", (real(), closed(0, 9, 1)), label="b"),
    Target("jax.nn.standardize", (real(),)),
    Target("jax.nn.standardize", (real(2, 3), MASK), call=with_keywords("where"), label="where"),
    Target("jax.nn.swish", (real(),)),
    Target("jax.nn.tanh", (real(),)),
    Target("jax.nn.dot_product_attention", (HEADS, HEADS, HEADS)),
    Target("jax.nn.dot_product_attention", (HEADS, HEADS, HEADS), options={"is_causal": True}, label="causal"),
    Target(
        "jax.nn.dot_product_attention",
        (HEADS, HEADS, HEADS, real(1, 2, 3, 3)),
        call=with_keywords("bias"),
        label="bias",
    ),
    Target("jax.nn.dot_product_attention", (HEADS, HEADS, HEADS), options={"local_window_size": 1}, label="window"),
)
