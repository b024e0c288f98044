"""`optax`: losses and projections, of predictions and of targets."""

import jax
import numpy as np

from experiments.audit.calls import of_log_softmax, of_softmax, with_keywords
from experiments.audit.domains import between, closed, fixed, nonnegative, positive, probabilities, real, tree
from experiments.audit.target import Target

LABELS = fixed(np.array([2, 0]))
SIGNS = fixed(np.array([1.0, -1.0, 1.0, -1.0]))
BITS = fixed(np.array([1, 0, 1, 0]))
PAIRS = fixed(np.array([0, 0, 1, 1]))
MASK = fixed(np.array([[True, False, True], [True, True, False]]))
PADDING = fixed(np.array([[0.0, 0.0, 0.0, 0.0, 1.0]]))
WORDS = (fixed(np.array([[1, 2, 0]])), fixed(np.array([[0.0, 0.0, 1.0]])))
TREE = tree({"a": real(2), "b": real(3)})

LOSSES = (
    Target("optax.losses.binary_dice_loss", (real(2, 3), closed(0, 1, 2, 3))),
    Target("optax.losses.convex_kl_divergence", (real(3), probabilities(3)), call=of_log_softmax),
    Target(
        "optax.losses.convex_kl_divergence",
        (real(2, 3), probabilities(2, 3), MASK),
        call=with_keywords("where"),
        label="where",
    ),
    Target("optax.losses.cosine_distance", (real(3), real(3))),
    Target("optax.losses.cosine_distance", (real(3), real(3)), options={"epsilon": 1e-6}, label="epsilon"),
    Target("optax.losses.cosine_similarity", (real(3), real(3))),
    Target("optax.losses.cosine_similarity", (real(3), real(3)), options={"epsilon": 1e-6}, label="epsilon"),
    Target("optax.losses.ctc_loss", (real(1, 5, 3), PADDING, *WORDS)),
    Target(
        "optax.losses.ctc_loss_with_forward_probs", (real(1, 5, 3), PADDING, *WORDS), call=lambda f, *args: f(*args)[0]
    ),
    Target("optax.losses.dice_loss", (real(2, 3), closed(0, 1, 2, 3))),
    Target("optax.losses.dice_loss", (real(2, 3), closed(0, 1, 2, 3)), options={"smooth": 0.0}, label="smooth=0"),
    Target("optax.losses.generalized_kl_divergence", (real(3), probabilities(3)), call=of_log_softmax),
    Target("optax.losses.hinge_loss", (real(), SIGNS)),
    Target("optax.losses.huber_loss", (real(), real())),
    Target(
        "optax.losses.huber_loss",
        (real(), real(), positive(1)),
        call=lambda f, x, y, d: f(x, y, delta=d[0]),
        label="delta",
    ),
    Target("optax.losses.kl_divergence", (real(3), probabilities(3)), call=of_log_softmax),
    Target(
        "optax.losses.kl_divergence",
        (real(2, 3), probabilities(2, 3), MASK),
        call=with_keywords("where"),
        label="where",
    ),
    Target("optax.losses.kl_divergence_with_log_targets", (real(3), real(3))),
    Target("optax.losses.l2_loss", (real(), real())),
    Target("optax.losses.log_cosh", (real(), real()), exact=lambda mp, x, y: mp.log(mp.cosh(x - y))),
    Target(
        "optax.losses.make_fenchel_young_loss",
        (real(3), probabilities(3)),
        call=lambda f, x, p: f(jax.nn.logsumexp)(x, p),
    ),
    Target("optax.losses.multiclass_generalized_dice_loss", (real(2, 3), closed(0, 1, 2, 3))),
    Target("optax.losses.multiclass_hinge_loss", (real(2, 3), LABELS)),
    Target("optax.losses.multiclass_perceptron_loss", (real(2, 3), LABELS)),
    Target("optax.losses.multiclass_sparsemax_loss", (real(2, 3), LABELS)),
    Target("optax.losses.ntxent", (real(4, 3), PAIRS)),
    Target(
        "optax.losses.ntxent",
        (real(4, 3), PAIRS, positive(1)),
        call=lambda f, x, i, t: f(x, i, t[0]),
        label="temperature",
    ),
    Target("optax.losses.perceptron_loss", (real(), SIGNS)),
    Target("optax.losses.poly_loss_cross_entropy", (real(2, 3), probabilities(2, 3))),
    Target(
        "optax.losses.poly_loss_cross_entropy",
        (real(3), probabilities(3), real(1)),
        call=lambda f, x, p, e: f(x, p, epsilon=e[0]),
        label="epsilon",
    ),
    Target(
        "optax.losses.poly_loss_cross_entropy",
        (real(2, 3), probabilities(2, 3), MASK),
        call=with_keywords("where"),
        label="where",
    ),
    Target("optax.losses.ranking_softmax_loss", (real(3), nonnegative(3))),
    Target(
        "optax.losses.ranking_softmax_loss",
        (real(2, 3), nonnegative(2, 3), MASK),
        call=with_keywords("where"),
        label="where",
    ),
    Target(
        "optax.losses.ranking_softmax_loss",
        (real(3), nonnegative(3), nonnegative(3)),
        call=with_keywords("weights"),
        label="weights",
    ),
    Target("optax.losses.safe_softmax_cross_entropy", (real(2, 3), probabilities(2, 3))),
    Target("optax.losses.sigmoid_binary_cross_entropy", (real(), closed(0, 1))),
    Target("optax.losses.sigmoid_focal_loss", (real(), closed(0, 1))),
    Target("optax.losses.sigmoid_focal_loss", (real(), closed(0, 1)), options={"gamma": 0.5}, label="gamma=0.5"),
    Target("optax.losses.sigmoid_focal_loss", (real(), closed(0, 1)), options={"gamma": 0.0}, label="gamma=0"),
    Target(
        "optax.losses.sigmoid_focal_loss", (real(), closed(0, 1)), options={"alpha": 0.3, "gamma": 1.0}, label="alpha"
    ),
    Target(
        "optax.losses.sigmoid_focal_loss",
        (real(), closed(0, 1), closed(0, 3, 1)),
        call=lambda f, x, y, g: f(x, y, gamma=g[0]),
        label="gamma",
    ),
    Target("optax.losses.smooth_labels", (probabilities(2, 3), between(0, 1, 1)), call=lambda f, p, a: f(p, a[0])),
    Target("optax.losses.softmax_cross_entropy", (real(2, 3), probabilities(2, 3))),
    Target(
        "optax.losses.softmax_cross_entropy",
        (real(2, 3), probabilities(2, 3), MASK),
        call=with_keywords("where"),
        label="where",
    ),
    Target("optax.losses.softmax_cross_entropy_with_integer_labels", (real(2, 3), LABELS)),
    Target("optax.losses.sparsemax_loss", (real(), BITS)),
    Target("optax.losses.squared_error", (real(), real())),
    Target("optax.losses.triplet_margin_loss", (real(2, 3), real(2, 3), real(2, 3))),
    Target(
        "optax.losses.triplet_margin_loss",
        (real(2, 3), real(2, 3), real(2, 3)),
        options={"norm_degree": 3, "margin": 5.0},
        label="norm_degree=3",
    ),
    Target(
        "optax.losses.triplet_margin_loss",
        (real(2, 3), real(2, 3), real(2, 3)),
        options={"norm_degree": 1.5, "margin": 5.0},
        label="norm_degree=1.5",
    ),
    Target(
        "optax.losses.triplet_margin_loss", (real(2, 3), real(2, 3), real(2, 3)), options={"eps": 0.0}, label="eps=0"
    ),
    Target(
        "optax.losses.kl_divergence",
        (real(3), real(3)),
        call=lambda f, x, z: of_softmax(lambda p: f(jax.nn.log_softmax(x), p), z),
        label="softmax",
    ),
)

PROJECTIONS = (
    Target(
        "optax.projections.projection_box", (TREE, fixed(-0.5), fixed(0.7)), call=lambda f, x, a, b: f(x["b"], a, b)
    ),
    Target("optax.projections.projection_halfspace", (TREE, TREE, real(1)), call=lambda f, x, a, b: f(x, a, b[0])),
    Target("optax.projections.projection_hypercube", (real(),)),
    Target("optax.projections.projection_hyperplane", (TREE, TREE, real(1)), call=lambda f, x, a, b: f(x, a, b[0])),
    Target("optax.projections.projection_l1_ball", (TREE,)),
    Target(
        "optax.projections.projection_l1_ball", (real(3), positive(1)), call=lambda f, x, s: f(x, s[0]), label="scale"
    ),
    Target("optax.projections.projection_l1_sphere", (TREE,)),
    Target("optax.projections.projection_l2_ball", (TREE,)),
    Target(
        "optax.projections.projection_l2_ball", (real(3), positive(1)), call=lambda f, x, s: f(x, s[0]), label="scale"
    ),
    Target("optax.projections.projection_l2_sphere", (TREE,)),
    Target(
        "optax.projections.projection_l2_sphere", (real(3), positive(1)), call=lambda f, x, s: f(x, s[0]), label="scale"
    ),
    Target("optax.projections.projection_linf_ball", (TREE,)),
    Target("optax.projections.projection_non_negative", (TREE,)),
    Target("optax.projections.projection_simplex", (TREE,)),
    Target(
        "optax.projections.projection_simplex", (real(3), positive(1)), call=lambda f, x, s: f(x, s[0]), label="scale"
    ),
    Target("optax.projections.projection_vector", (TREE, TREE)),
)

TARGETS = LOSSES + PROJECTIONS
