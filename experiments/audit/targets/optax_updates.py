"""`optax`: the first update of a transformation as a function of gradients and parameters, and functions of trees."""

import jax.numpy as jnp
import numpy as np
import optax

from experiments.audit.calls import updates
from experiments.audit.domains import fixed, nonnegative, positive, real, tree
from experiments.audit.target import Target

TREE = tree({"a": real(2), "b": real(2, 2)})
MATRIX = real(3, 3)
RATE = {"learning_rate": 0.1}

OPTIMIZERS = (
    Target("optax.adabelief", (TREE,), RATE, updates),
    Target("optax.adadelta", (TREE,), RATE, updates),
    Target("optax.adafactor", (TREE,), RATE, updates),
    Target("optax.adagrad", (TREE,), RATE, updates),
    Target("optax.adam", (TREE,), RATE, updates),
    Target("optax.adamax", (TREE,), RATE, updates),
    Target("optax.adamw", (TREE, TREE), RATE, updates),
    Target("optax.adan", (TREE,), RATE, updates),
    Target("optax.amsgrad", (TREE,), RATE, updates),
    Target("optax.fromage", (TREE, TREE), RATE, updates),
    Target("optax.lamb", (TREE, TREE), RATE, updates),
    Target("optax.lars", (TREE, TREE), RATE, updates),
    Target("optax.lion", (TREE,), RATE, updates),
    Target("optax.nadam", (TREE,), RATE, updates),
    Target("optax.novograd", (TREE,), RATE, updates),
    Target("optax.optimistic_gradient_descent", (TREE,), RATE, updates),
    Target("optax.radam", (TREE,), RATE, updates),
    Target("optax.rmsprop", (TREE,), RATE, updates),
    Target("optax.rmsprop", (TREE,), {**RATE, "centered": True}, updates, label="centered"),
    Target("optax.rprop", (TREE,), RATE, updates),
    Target("optax.sgd", (TREE,), {**RATE, "momentum": 0.9, "nesterov": True}, updates),
    Target("optax.sm3", (TREE,), RATE, updates),
    Target("optax.yogi", (TREE,), RATE, updates),
    Target("optax.contrib.muon", (real(2, 3),), RATE, updates),
    Target("optax.contrib.ademamix", (TREE,), RATE, updates),
    Target("optax.contrib.normalize", (TREE,), {}, updates),
    Target("optax.contrib.madgrad", (TREE,), RATE, updates),
    Target("optax.contrib.prodigy", (TREE, TREE), {}, updates),
    Target("optax.contrib.cocob", (TREE,), {}, updates),
)

TRANSFORMATIONS = (
    Target("optax.adaptive_grad_clip", (TREE, TREE), {"clipping": 0.1}, updates),
    Target("optax.add_decayed_weights", (TREE, TREE), {"weight_decay": 0.1}, updates),
    Target("optax.centralize", (TREE,), {}, updates),
    Target("optax.clip", (TREE,), {"max_delta": 0.5}, updates),
    Target("optax.clip_by_block_rms", (TREE,), {"threshold": 0.5}, updates),
    Target("optax.clip_by_global_norm", (TREE,), {"max_norm": 0.5}, updates),
    Target("optax.clip_by_global_norm", (real(3),), {"max_norm": 0.5}, updates, label="array"),
    Target("optax.ema", (TREE,), {"decay": 0.9}, updates),
    Target("optax.flatten", (TREE,), {}, lambda f, g: updates(lambda: f(optax.adam(0.1)), g)),
    Target("optax.keep_params_nonnegative", (TREE, tree({"a": nonnegative(2), "b": nonnegative(2, 2)})), {}, updates),
    Target("optax.normalize_by_update_norm", (TREE,), {}, updates),
    Target("optax.scale_by_factored_rms", (TREE,), {"min_dim_size_to_factor": 2}, updates),
    Target("optax.scale_by_param_block_norm", (TREE, TREE), {}, updates),
    Target("optax.scale_by_param_block_rms", (TREE, TREE), {}, updates),
    Target("optax.scale_by_rss", (TREE,), {}, updates),
    Target("optax.scale_by_stddev", (TREE,), {}, updates),
    Target("optax.scale_by_trust_ratio", (TREE, TREE), {}, updates),
    Target("optax.trace", (TREE,), {"decay": 0.9, "nesterov": True}, updates),
    Target("optax.zero_nans", (TREE,), {}, updates),
    Target("optax.per_example_global_norm_clip", (real(3, 4), fixed(1.0)), call=lambda f, g, c: f([g], c)[0]),
    Target("optax.per_example_layer_norm_clip", (real(3, 4), fixed(1.0)), call=lambda f, g, c: f([g], c)[0]),
)

TREES = (
    Target("optax.apply_updates", (TREE, TREE)),
    Target("optax.global_norm", (TREE,)),
    Target("optax.incremental_update", (TREE, TREE, fixed(0.1))),
    Target(
        "optax.matrix_inverse_pth_root",
        (MATRIX,),
        call=lambda f, a: f(a @ a.T + jnp.eye(3), 4, ridge_epsilon=0.0, error_tolerance=1e-13)[0],
    ),
    Target(
        "optax.power_iteration",
        (MATRIX,),
        call=lambda f, a: f(a @ a.T + jnp.eye(3), v0=jnp.ones(3), num_iters=200, error_tolerance=1e-14)[0],
    ),
    Target("optax.nnls", (positive(4, 2), positive(4)), call=lambda f, a, b: f(a, b, 200)),
    Target("optax.safe_norm", (real(), fixed(1e-6))),
    Target("optax.safe_norm", (real(2, 3), fixed(1e-6)), {"axis": 1}, label="axis=1"),
    Target("optax.safe_norm", (real(), fixed(1e-6)), {"ord": 1}, label="1"),
    Target("optax.safe_norm", (real(), positive(1)), call=lambda f, x, m: f(x, m[0]), label="min_norm"),
    Target("optax.safe_root_mean_squares", (real(), fixed(1e-6))),
    Target("optax.scale_gradient", (real(),), call=lambda f, x: f(x, 1.0)),
    Target("optax.tree.add", (TREE, TREE)),
    Target("optax.tree.add_scale", (TREE, real(1), TREE), call=lambda f, x, s, y: f(x, s[0], y)),
    Target("optax.tree.bias_correction", (TREE, positive(1)), call=lambda f, m, d: f(m, jnp.exp(-d[0]), 3)),
    Target("optax.tree.clip", (TREE, fixed(-0.5), fixed(1.0))),
    Target("optax.tree.div", (TREE, TREE)),
    Target("optax.tree.max", (TREE,)),
    Target("optax.tree.min", (TREE,)),
    Target("optax.tree.mul", (TREE, TREE)),
    Target("optax.tree.norm", (TREE,)),
    Target("optax.tree.norm", (TREE,), {"ord": 1}, label="1"),
    Target("optax.tree.norm", (TREE,), {"ord": "inf"}, label="inf"),
    Target("optax.tree.norm", (TREE,), {"squared": True}, label="squared"),
    Target("optax.tree.scale", (real(1), TREE), call=lambda f, s, x: f(s[0], x)),
    Target("optax.tree.sub", (TREE, TREE)),
    Target("optax.tree.sum", (TREE,)),
    Target("optax.tree.update_infinity_moment", (TREE, TREE), call=lambda f, g, m: f(g, m, 0.9, 1e-8)),
    Target("optax.tree.update_moment", (TREE, TREE), call=lambda f, g, m: f(g, m, 0.9, 3)),
    Target("optax.tree.update_moment_per_elem_norm", (TREE, TREE), call=lambda f, g, m: f(g, m, 0.9, 2)),
    Target("optax.tree.vdot", (TREE, TREE)),
    Target("optax.tree.where", (fixed(np.array([True, False])), TREE, TREE)),
)

TARGETS = OPTIMIZERS + TRANSFORMATIONS + TREES
