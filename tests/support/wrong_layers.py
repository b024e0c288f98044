"""Wrong layers, parameters and losses: calls, their errors, words of the messages."""

import jax
import jax.numpy as jnp
import numpy as np

import fnn

KEY = jax.random.key(0)
X, LABELS, TARGETS = np.zeros((6, 4), "float32"), np.zeros(6, "int32"), np.zeros((6, 3), "float32")
NETWORK = fnn.mlp([4, 5, 3])
PARAMS = NETWORK.init(KEY)


def forward(layer, x, params=None):
    return lambda: jax.eval_shape(layer.forward, layer.init(KEY) if params is None else params, x)


def loss(function, prediction, target):
    return lambda: jax.eval_shape(lambda p, t: function.forward(p, t)[0], prediction, target)


CASES = [  # a call, its error, and words of the message
    # sizes and rates
    (lambda: fnn.dense(0, 3), ValueError, "dense: n_in positive integer got int 0"),
    (lambda: fnn.dense(3, -1), ValueError, "dense: n_out positive integer got int -1"),
    (lambda: fnn.dense(3, 2.5), TypeError, "dense: n_out positive integer got float 2.5"),
    (lambda: fnn.dense("3", 2), TypeError, "dense: n_in positive integer got str '3'"),
    (lambda: fnn.dense(True, 2), ValueError, "dense: n_in positive integer got bool True"),
    (lambda: fnn.conv2d(0, 2, 3), ValueError, "conv2d: c_in positive integer got int 0"),
    (lambda: fnn.conv2d(2, 0, 3), ValueError, "conv2d: c_out positive integer got int 0"),
    (lambda: fnn.conv2d(2, 2, 0), ValueError, "conv2d: kernel_size positive integer got int 0"),
    (lambda: fnn.conv2d(2, 2, (3, 3, 3)), ValueError, "conv2d: kernel_size pair got tuple (3, 3, 3)"),
    (lambda: fnn.conv2d(2, 2, 3, stride=0), ValueError, "conv2d: stride positive integer got int 0"),
    (lambda: fnn.conv2d(2, 2, 3, padding="FULL"), ValueError, "conv2d: padding VALID SAME got str 'FULL'"),
    (lambda: fnn.conv2d(2, 2, 3, padding=1), ValueError, "conv2d: padding VALID SAME got int 1"),
    (lambda: fnn.max_pool2d(0), ValueError, "max_pool2d: size positive integer got int 0"),
    (lambda: fnn.max_pool2d(2, stride=-1), ValueError, "max_pool2d: stride positive integer got int -1"),
    (lambda: fnn.avg_pool2d((2, 0)), ValueError, "avg_pool2d: size positive integer got int 0"),
    (lambda: fnn.dropout(1.0), ValueError, "dropout: rate in [0, 1) got float 1.0"),
    (lambda: fnn.dropout(-0.1), ValueError, "dropout: rate in [0, 1) got float -0.1"),
    (lambda: fnn.dropout(float("nan")), ValueError, "dropout: rate in [0, 1) got float nan"),
    (lambda: fnn.dropout("0.5"), TypeError, "dropout: rate number got str '0.5'"),
    (lambda: fnn.batch_norm(0), ValueError, "batch_norm: n positive integer got int 0"),
    (lambda: fnn.batch_norm(3, epsilon=-1.0), ValueError, "batch_norm: epsilon at least 0.0 got float -1.0"),
    (lambda: fnn.layer_norm(2.0), TypeError, "layer_norm: n positive integer got float 2.0"),
    (lambda: fnn.leaky_relu("a"), TypeError, "leaky_relu: slope number got str 'a'"),
    (lambda: fnn.leaky_relu(float("inf")), ValueError, "leaky_relu: slope finite got float inf"),
    (lambda: fnn.repeat(fnn.dense(3, 3), 0), ValueError, "repeat: n positive integer got int 0"),
    (lambda: fnn.elementwise(jnp.sin, None), TypeError, "elementwise: df function got NoneType None"),
    (lambda: fnn.init.normal(-1.0), ValueError, "init.normal: stddev at least 0.0 got float -1.0"),
    (lambda: fnn.init.uniform("1"), TypeError, "init.uniform: scale number got str '1'"),
    (lambda: fnn.init.he_normal(KEY, (3,)), ValueError, "init.fans: shape (*window, n_in, n_out) got tuple (3,)"),
    # layers on sequences
    (lambda: fnn.rnn(0, 3), ValueError, "rnn: n_in positive integer got int 0"),
    (lambda: fnn.rnn(4, 3, jnp.tanh), TypeError, "rnn: activation Layer got"),
    (lambda: fnn.gru(4, 2.5), TypeError, "gru: n positive integer got float 2.5"),
    (lambda: fnn.gru(4, 3, "after"), TypeError, "gru: reset_after True or False got str 'after'"),
    (lambda: fnn.lstm(4, 3, forget_bias="1"), TypeError, "lstm: forget_bias number got str '1'"),
    (forward(fnn.lstm(4, 3), X), ValueError, "lstm: x (batch, time, 4) got float32 of shape (6, 4)"),
    (forward(fnn.gru(4, 3), np.zeros((2, 5, 3), "float32")), ValueError, "gru: x (batch, time, 4) got float32 of shape (2, 5, 3)"),
    (forward(fnn.rnn(4, 3), np.zeros((2, 5, 4), "int32")), TypeError, "rnn: x floating point got int32"),
    (forward(fnn.rnn(4, 3), np.zeros((2, 5, 4), "float32"), fnn.rnn(4, 2).init(KEY)), ValueError, "rnn: params.w (4, 3) got float32 of shape (4, 2)"),
    (forward(fnn.lstm(4, 3), np.zeros((2, 5, 4), "float32"), fnn.rnn(4, 3).init(KEY)), TypeError, "lstm: params LSTM(w, u, b) got RNN"),
    (lambda: fnn.lstm(4, 3).stream.advance(fnn.lstm(4, 3).init(KEY), (jnp.zeros((3, 3)), jnp.zeros((3, 3))), np.zeros((2, 5, 4), "float32")), ValueError, "lstm: memory (2, 3) got float32 of shape (3, 3)"),
    (lambda: fnn.embedding(0, 3), ValueError, "embedding: n positive integer got int 0"),
    (lambda: fnn.embedding(5, 3).forward(fnn.embedding(5, 3).init(KEY), [[5]]), ValueError, "embedding: x ids in 0..4 got 5 first in row 0"),
    (forward(fnn.embedding(5, 3), X), TypeError, "embedding: x integer ids in 0..4 got float32 of shape (6, 4)"),
    (lambda: fnn.rms_norm(3, epsilon=-1.0), ValueError, "rms_norm: epsilon at least 0.0 got float -1.0"),
    (forward(fnn.rms_norm(3), X), ValueError, "rms_norm: x (batch, ..., 3) got float32 of shape (6, 4)"),
    (lambda: fnn.swiglu(3, 0), ValueError, "swiglu: hidden positive integer got int 0"),
    (forward(fnn.learned_positions(3, 4), np.zeros((2, 5, 4), "float32")), ValueError, "learned_positions: x at most 3 positions got float32 of shape (2, 5, 4)"),
    (lambda: fnn.bidirectional(fnn.rnn(4, 3), fnn.rnn), TypeError, "bidirectional: backward Layer got function"),
    (forward(fnn.bidirectional(fnn.relu, fnn.relu), X[0]), ValueError, "bidirectional: x (batch, time, ...) got float32 of shape (4,)"),
    (forward(fnn.bidirectional(fnn.rnn(4, 3), fnn.last()), np.zeros((2, 5, 4), "float32")), ValueError, "bidirectional: the output of the layers of shape (2, 5, n) got float32 of shape (2, 4)"),
    (forward(fnn.last(), np.zeros((2, 0, 4), "float32")), ValueError, "last: x at least one position got float32 of shape (2, 0, 4)"),
    # combinators and models
    (lambda: fnn.serial(), ValueError, "serial: layers at least one got none"),
    (lambda: fnn.serial(fnn.dense(3, 3), fnn.leaky_relu), TypeError, "serial: layers[1] Layer got function"),
    (lambda: fnn.serial(jnp.tanh), TypeError, "serial: layers[0] Layer got"),
    (lambda: fnn.residual(jnp.tanh), TypeError, "residual: layer Layer got"),
    (lambda: fnn.repeat(fnn.dense, 3), TypeError, "repeat: layer Layer got function"),
    (lambda: fnn.autodiff(jnp.sin), TypeError, "autodiff: layer Layer got"),
    (lambda: fnn.as_custom_vjp(3), TypeError, "as_custom_vjp: layer Layer got int 3"),
    (lambda: fnn.mlp([3]), ValueError, "mlp: sizes at least two got tuple (3,)"),
    (lambda: fnn.mlp([3, 0, 2]), ValueError, "dense: n_out positive integer got int 0"),
    (lambda: fnn.mlp([3, 4, 2], jnp.tanh), TypeError, "mlp: activation Layer got"),
    (lambda: fnn.logistic_regression(0), ValueError, "dense: n_in positive integer got int 0"),
    (lambda: fnn.softmax_regression(3, 0), ValueError, "dense: n_out positive integer got int 0"),
    (lambda: fnn.convnet((28, 28), (3,), 5, (10,)), ValueError, "convnet: image_shape (height, width, channels) got"),
    (lambda: fnn.convnet((6, 6, 1), (3, 3), 5, (10,)), ValueError, "convnet: image_shape large enough got (6, 6, 1)"),
    (lambda: fnn.convnet((28, 28, 1), (3,), 5, ()), ValueError, "convnet: sizes at least got tuple ()"),
    (lambda: fnn.summary(NETWORK, ()), TypeError, "summary: input_shape batch first got tuple ()"),
    (lambda: fnn.summary(NETWORK, (1, 5)), ValueError, "dense: x (batch, ..., 4) got float32 of shape (1, 5)"),
    (lambda: fnn.summary(jnp.sin, (1, 5)), TypeError, "summary: network Layer got"),
    # shapes and dtypes of x
    (forward(fnn.dense(4, 3), np.zeros(4, "float32")), ValueError, "dense: x (batch, ..., 4) got float32 of shape (4,)"),
    (forward(fnn.dense(4, 3), np.zeros((2, 5), "float32")), ValueError, "dense: x (batch, ..., 4) got of shape (2, 5)"),
    (forward(fnn.dense(4, 3), np.zeros((2, 4, 5), "float32")), ValueError, "dense: x (batch, ..., 4) got (2, 4, 5)"),
    (forward(fnn.dense(4, 3), np.zeros((2, 4), "int32")), TypeError, "dense: x floating point got int32"),
    (forward(fnn.dense(4, 3), np.zeros((2, 4), "bool")), TypeError, "dense: x floating point got bool"),
    (forward(fnn.dense(4, 3), np.zeros((2, 4), "complex64")), TypeError, "dense: x floating point got complex64"),
    (forward(fnn.relu, np.zeros((2, 4), "uint8")), TypeError, "relu: x floating point got uint8"),
    (forward(fnn.dropout(0.5), np.zeros((2, 4), "int32")), TypeError, "dropout: x floating point got int32"),
    (forward(fnn.flatten, np.zeros(4, "float32")), ValueError, "flatten: x (batch, ...) got float32 of shape (4,)"),
    (forward(fnn.conv2d(2, 3, 3), np.zeros((1, 8, 8), "float32")), ValueError, "conv2d: x height got (1, 8, 8)"),
    (forward(fnn.conv2d(2, 3, 3), np.zeros((1, 8, 8, 3), "float32")), ValueError, "conv2d: x 2) got (1, 8, 8, 3)"),
    (forward(fnn.conv2d(2, 3, 9), np.zeros((1, 8, 8, 2), "float32")), ValueError, "conv2d: x (9, 9) got (8, 8)"),
    (forward(fnn.max_pool2d(9), np.zeros((1, 8, 8, 2), "float32")), ValueError, "max_pool2d: x (9, 9) got (8, 8)"),
    (forward(fnn.avg_pool2d(2), np.zeros((8, 8, 2), "float32")), ValueError, "avg_pool2d: x channels got (8, 8, 2)"),
    (forward(fnn.batch_norm(3), np.zeros((5, 4), "float32")), ValueError, "batch_norm: x 3) got float32 of shape (5, 4)"),
    (forward(fnn.layer_norm(3), np.zeros(3, "float32")), ValueError, "layer_norm: x 3) got float32 of shape (3,)"),
    (forward(fnn.residual(fnn.dense(4, 3)), X), ValueError, "residual: shortcut's output (6, 3) got (6, 4)"),
    (forward(fnn.repeat(fnn.dense(4, 3), 2), X), ValueError, "repeat: output (6, 4) got float32 of shape (6, 3)"),
    (forward(fnn.elementwise(jnp.sum, jnp.ones_like), X), ValueError, "elementwise: f keeps shape got float32 of shape ()"),
    # parameters
    (forward(NETWORK, X, PARAMS[:2]), ValueError, "serial: params tuple of 3 got a tuple of 2"),
    (forward(NETWORK, X, list(PARAMS)), ValueError, "serial: params tuple of 3 got list"),
    (forward(NETWORK, X, {"w": 1}), ValueError, "serial: params tuple of 3 got dict"),
    (forward(fnn.dense(4, 3), X, (1, 2)), TypeError, "dense: params Dense(w, b) got tuple"),
    (forward(fnn.dense(4, 3), X, fnn.Dense(np.zeros((3, 4), "float32"), np.zeros(3, "float32"))), ValueError, "dense: params.w (4, 3) got float32 of shape (3, 4)"),
    (forward(fnn.dense(4, 3), X, fnn.Dense(np.zeros((4, 3), "float32"), np.zeros((1, 3), "float32"))), ValueError, "dense: params.b (3,) got float32 of shape (1, 3)"),
    (forward(fnn.dense(4, 3), X, fnn.Dense(np.zeros((4, 3), "int32"), np.zeros(3, "float32"))), TypeError, "dense: params.w floating point got int32"),
    (forward(fnn.relu, X, (1,)), ValueError, "relu: params () got tuple"),
    (forward(fnn.batch_norm(4), X, fnn.LayerNorm(X[0], X[0])), TypeError, "batch_norm: params BatchNorm(gamma, beta, mean, var) got LayerNorm"),
    (forward(fnn.repeat(fnn.dense(4, 4), 3), X, fnn.dense(4, 4).init(KEY)), ValueError, "repeat: params leading axis of 3 got"),
    # losses
    (loss(fnn.squared_error, np.zeros((6, 1), "float32"), np.zeros(6, "float32")), ValueError, "squared_error: target (6, 1) got float32 of shape (6,)"),
    (loss(fnn.squared_error, np.zeros(6, "float32"), np.zeros((6, 1), "float32")), ValueError, "squared_error: target (6,) got float32 of shape (6, 1)"),
    (loss(fnn.squared_error, np.zeros((6, 1), "int32"), np.zeros((6, 1), "float32")), TypeError, "squared_error: prediction floating point got int32"),
    (loss(fnn.squared_error, np.float32(1), np.float32(1)), ValueError, "squared_error: prediction (batch, ...) got float32 of shape ()"),
    (loss(fnn.squared_error, TARGETS, TARGETS.astype("complex64")), TypeError, "squared_error: target real got complex64"),
    (loss(fnn.sigmoid_cross_entropy, np.zeros((6, 1), "float32"), np.zeros(6, "float32")), ValueError, "sigmoid_cross_entropy: target (6, 1) got float32 of shape (6,)"),
    (loss(fnn.binary_cross_entropy, TARGETS, TARGETS[:, :2]), ValueError, "binary_cross_entropy: target (6, 3) got float32 of shape (6, 2)"),
    (loss(fnn.softmax_cross_entropy, TARGETS, np.zeros(6, "float32")), TypeError, "softmax_cross_entropy: target integer labels (6,) got float32 of shape (6,)"),
    (loss(fnn.softmax_cross_entropy, TARGETS, np.zeros((6, 1), "int32")), ValueError, "softmax_cross_entropy: target labels (6,) got int32 of shape (6, 1)"),
    (loss(fnn.softmax_cross_entropy, TARGETS, np.zeros((6, 4), "float32")), ValueError, "softmax_cross_entropy: target distributions (6, 3) got float32 of shape (6, 4)"),
    (loss(fnn.softmax_cross_entropy, TARGETS, np.zeros((6, 3), "int32")), TypeError, "softmax_cross_entropy: target floating point got int32"),
    (loss(fnn.softmax_cross_entropy, TARGETS, np.zeros(5, "int32")), ValueError, "softmax_cross_entropy: target (6,) got int32 of shape (5,)"),
    (loss(fnn.softmax_cross_entropy, np.zeros(6, "float32"), LABELS), ValueError, "softmax_cross_entropy: prediction (batch, ..., k) got float32 of shape (6,)"),
    (loss(fnn.negative_log_likelihood, TARGETS, np.zeros((6, 2), "float32")), ValueError, "negative_log_likelihood: target (6, 3) got float32 of shape (6, 2)"),
]  # fmt: skip
