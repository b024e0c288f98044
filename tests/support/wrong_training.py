"""Wrong arguments of steps, optimizers, trainings and data: each call, its error, and words of the message."""

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn import data
from tests.support.wrong_layers import KEY, LABELS, NETWORK, PARAMS, TARGETS, X

SGD = fnn.sgd(0.1)
NAN = np.where(np.arange(24).reshape(6, 4) == 13, np.nan, 0).astype("float32")
INF = np.where(np.arange(24).reshape(6, 4) == 13, np.inf, 0).astype("float32")
ONCE = iter([(X[:3], LABELS[:3])] * 9)


def gradient(*args, network=NETWORK, function=fnn.softmax_cross_entropy, l2=0.0, micro=None):
    return lambda: jax.eval_shape(fnn.value_and_grad(network, function, l2, micro), *args)


def fit(**changes):
    options = {
        "network": NETWORK,
        "loss": fnn.softmax_cross_entropy,
        "optimizer": SGD,
        "data": (X, LABELS),
        "epochs": 1,
        "batch_size": 3,
        "key": KEY,
        "progress": False,
    } | changes
    first = [options.pop(name) for name in ("network", "loss", "optimizer", "data")]
    return lambda: fnn.fit(*first, **options)


def stream(*items, batch=(X[:3], LABELS[:3]), **changes):
    """fit on a stream with these batches in every epoch; None stands for a good batch."""
    given = [batch if item is None else item for item in items]
    return fit(data=lambda epoch: iter(given), **changes)


def evaluate(*batch, function=fnn.softmax_cross_entropy, **options):
    return lambda: fnn.evaluate(NETWORK, function, PARAMS, batch, **options)


def run(**changes):
    options = {"data": (X, LABELS), "epochs": 1, "batch_size": 3} | changes
    arrays = options.pop("data")
    return lambda: fnn.make_run(NETWORK, fnn.softmax_cross_entropy, fnn.sgd, arrays, **options)


CASES = [  # the call, the error, and words that its message must contain
    # costs, gradients, steps
    (gradient(PARAMS, X, LABELS[:5]), ValueError, "value_and_grad: y as many rows as x, 6 got int32 of shape (5,)"),
    (gradient(PARAMS, X[:0], LABELS[:0]), ValueError, "value_and_grad: x at least one example got float32 of shape (0, 4)"),
    (gradient(PARAMS, X, LABELS, np.ones((6, 1), "float32")), ValueError, "value_and_grad: weight (6,) got float32 of shape (6, 1)"),
    (gradient(PARAMS, X, LABELS, np.ones(6, "int32")), TypeError, "value_and_grad: weight floating point got int32"),
    (lambda: fnn.value_and_grad(jnp.sin, fnn.squared_error), TypeError, "value_and_grad: network Layer got"),
    (lambda: fnn.value_and_grad(NETWORK, fnn.squared_error.forward), TypeError, "value_and_grad: loss Loss got function"),
    (lambda: fnn.value_and_grad(NETWORK, fnn.squared_error, -0.1), ValueError, "value_and_grad: l2 at least 0.0 got float -0.1"),
    (lambda: fnn.value_and_grad(NETWORK, fnn.squared_error, jnp.ones(3)), ValueError, "value_and_grad: l2 scalar got float32 of shape (3,)"),
    (lambda: fnn.make_step(NETWORK, fnn.squared_error, 0.1), TypeError, "make_step: optimizer GradientTransformation got float 0.1"),
    (lambda: fnn.init_state(NETWORK, fnn.sgd, KEY), TypeError, "init_state: optimizer GradientTransformation got function"),
    (lambda: fnn.init_state(NETWORK, fnn.sgd(0.1), 0), TypeError, "init_state: key jax.random.key(0) got int 0"),
    (lambda: fnn.init_state(NETWORK, fnn.sgd(0.1), jax.random.split(KEY)), TypeError, "init_state: key got key<fry> of shape (2,)"),
    (lambda: fnn.make_step(NETWORK, fnn.squared_error, fnn.sgd(0.1))(fnn.init_state(NETWORK, fnn.sgd(0.1), KEY), X), TypeError, "step: the batch (x, y) got ndarray"),
    (lambda: fnn.make_epoch(lambda s, b: (s, 0), 0), ValueError, "make_epoch: batch_size positive integer got int 0"),
    (lambda: fnn.make_epoch(lambda s, b: (s, 0), 7)(fnn.init_state(NETWORK, fnn.sgd(0.1), KEY), (X, LABELS)), ValueError, "make_epoch: batch_size at most 6 got int 7"),
    (lambda: fnn.make_epoch(lambda s, b: (s, 0), 2)(fnn.init_state(NETWORK, fnn.sgd(0.1), KEY), (X, LABELS[:3])), ValueError, "epoch: data same length got lengths [6, 3]"),
    # optimizers
    (lambda: fnn.sgd("fast"), TypeError, "sgd: learning_rate number got str 'fast'"),
    (lambda: fnn.sgd(float("nan")), ValueError, "sgd: learning_rate finite got float nan"),
    (lambda: fnn.momentum(0.1, beta=1.0), ValueError, "momentum: beta in [0, 1) got float 1.0"),
    (lambda: fnn.heavy_ball(0.1, beta=-0.5), ValueError, "heavy_ball: beta at least 0.0 got float -0.5"),
    (lambda: fnn.nesterov(jnp.ones(2)), ValueError, "nesterov: learning_rate scalar got float32 of shape (2,)"),
    (lambda: fnn.adam(0.1, beta2=1.5), ValueError, "adam: beta2 in [0, 1) got float 1.5"),
    (lambda: fnn.adam(0.1, epsilon=-1e-8), ValueError, "adam: epsilon at least 0.0 got float -1e-08"),
    (lambda: fnn.add_l2(-1.0), ValueError, "add_l2: strength at least 0.0 got float -1.0"),
    (lambda: fnn.add_l2(0.1).update(PARAMS, (), None), ValueError, "add_l2: params given to update got None"),
    # fit
    (fit(batch_size=7), ValueError, "fit: batch_size at most 6 got int 7"),
    (fit(batch_size=0), ValueError, "fit: batch_size positive integer got int 0"),
    (fit(batch_size=1.5), TypeError, "fit: batch_size positive integer got float 1.5"),
    (fit(epochs=0), ValueError, "fit: epochs positive integer got int 0"),
    (fit(report_every=0), ValueError, "fit: report_every positive integer got int 0"),
    (fit(data=(X[:0], LABELS[:0])), ValueError, "fit: data at least one example got none"),
    (fit(data=(X, LABELS[:3])), ValueError, "fit: data same length got lengths [6, 3]"),
    (fit(data=(NAN, LABELS)), ValueError, "fit: data: x finite got first in row 3"),
    (fit(data=(INF, LABELS)), ValueError, "fit: data: x finite got first in row 3"),
    (fit(data=(X, NAN[:, :3])), ValueError, "fit: data: y finite got first in row"),
    (fit(data=(X, LABELS + 3)), ValueError, "softmax_cross_entropy: target labels in 0..2 got 3..3"),
    (fit(data=(X, LABELS - 1)), ValueError, "softmax_cross_entropy: target labels in 0..2 got -1..-1"),
    (fit(data=(X, LABELS.astype("float32"))), TypeError, "softmax_cross_entropy: target integer labels got float32"),
    (fit(data=(X, TARGETS - 1)), ValueError, "softmax_cross_entropy: target without negative got -1.0"),
    (fit(data=(X, TARGETS + 2), loss=fnn.sigmoid_cross_entropy), ValueError, "sigmoid_cross_entropy: target in 0..1 got 2.0..2.0"),
    (fit(data=(X.astype("uint8"), LABELS)), TypeError, "fit: data: x floating point got uint8"),
    (fit(data=([[1], [2, 3]], LABELS)), TypeError, "fit: data: x array of numbers got list"),
    (fit(data=X), TypeError, "fit: data arrays a Grain dataset got ndarray"),
    (fit(data=(X, LABELS, -np.ones(6, "float32"))), ValueError, "fit: data: weight non-negative got negative"),
    (fit(data=(X[:, :3], LABELS)), ValueError, "dense: x (batch, ..., 4) got float32 of shape (6, 3)"),
    (fit(validation=(X, LABELS[:2])), ValueError, "fit: data same length got lengths [6, 2]"),
    (fit(validation=(NAN, LABELS)), ValueError, "fit: validation: x finite got first in row 3"),
    (fit(validation=(X, LABELS + 9)), ValueError, "softmax_cross_entropy: target labels in 0..2 got 9..9"),
    (fit(patience=3), ValueError, "fit: validation patience got None"),
    (fit(patience=0, validation=(X, LABELS)), ValueError, "fit: patience positive integer got int 0"),
    (fit(key=None), ValueError, "fit: key `state` got neither"),
    (fit(state=fnn.init_state(NETWORK, fnn.sgd(0.1), KEY)), ValueError, "fit: key `state` got both"),
    (fit(key=None, state=PARAMS), TypeError, "fit: state TrainState got tuple"),
    (fit(key=7), TypeError, "fit: key jax.random.key(0) got int 7"),
    (gradient(PARAMS, X, LABELS, None, 0), TypeError, "value_and_grad: key jax.random.key(0) got int32"),
    (lambda: fnn.calibrate(fnn.batch_norm(4), (), X), TypeError, "batch_norm: params BatchNorm got tuple"),
    (lambda: fnn.accuracy(TARGETS, LABELS[:1]), ValueError, "accuracy: target (6, 3) got int32 of shape (1,)"),
    (lambda: fnn.binary_accuracy(0.0)(TARGETS, TARGETS[:, 0]), ValueError, "accuracy: target (6, 3) got float32 of shape (6,)"),
    (lambda: fnn.convnet((28, 28, 1), 3, 5, (10,)), TypeError, "convnet: filters sequences got 3, (10,)"),
    (fit(l2=-1.0), ValueError, "fit: l2 at least 0.0 got float -1.0"),
    (fit(network=fnn.mlp), TypeError, "fit: network Layer got function"),
    (fit(loss=jnp.sin), TypeError, "fit: loss Loss got"),
    (fit(optimizer=fnn.adam), TypeError, "fit: optimizer GradientTransformation got function"),
    (fit(metrics=[fnn.accuracy]), TypeError, "fit: metrics mapping got list"),
    (fit(metrics={"cost": fnn.accuracy}), ValueError, "fit: metrics without 'cost' got 'cost'"),
    (fit(metrics={"validation_a": fnn.accuracy}), ValueError, "fit: metrics 'validation_…' got 'validation_a'"),
    (fit(metrics={"a": lambda p, t: p}), ValueError, "step: metric 'a' (3,) got float32 of shape (3, 3)"),
    (fit(metrics={"a": lambda p, t: p.sum()}), ValueError, "step: metric 'a' (3,) got float32 of shape ()"),
    (fit(loss=fnn.softmax_cross_entropy._replace(metrics=[])), TypeError, "fit: loss hashable got Loss"),
    (fit(callback=3), TypeError, "fit: callback function got int 3"),
    (fit(key=None, state=fnn.init_state(NETWORK, fnn.adam(0.1), KEY)), ValueError, "fit: state optimizer got a tree of another structure"),
    (fit(data=(X, TARGETS + 1)), ValueError, "softmax_cross_entropy: target sum to 1 got 3.0..3.0"),
    # micro-batches, streams
    (lambda: fnn.value_and_grad(NETWORK, fnn.squared_error, 0.0, 0), ValueError, "value_and_grad: micro_batch_size positive integer got int 0"),
    (lambda: fnn.make_step(NETWORK, fnn.squared_error, fnn.sgd(0.1), micro_batch_size=1.5), TypeError, "value_and_grad: micro_batch_size positive integer got float 1.5"),
    (gradient(PARAMS, X, LABELS[:5], micro=2), ValueError, "value_and_grad: y as many rows as x, 6 got int32 of shape (5,)"),
    (gradient(PARAMS, X, LABELS, np.ones(5, "float32"), micro=2), ValueError, "value_and_grad: weight (6,) got float32 of shape (5,)"),
    (fit(micro_batch_size=-1), ValueError, "fit: micro_batch_size positive integer got int -1"),
    (fit(device_memory=0), ValueError, "fit: device_memory positive integer got int 0"),
    (fit(device_memory=1e9), TypeError, "fit: device_memory positive integer got float 1000000000.0"),
    (fit(device_memory=100), ValueError, "fit: device_memory at least 120 two chunks of one batch got int 100"),
    (fit(window=3), ValueError, "fit: device_memory given window got None"),
    (fit(window=0, device_memory=144), ValueError, "fit: window positive integer got int 0"),
    (fit(window=3, device_memory=144, batch_size=7), ValueError, "fit: batch_size at most 6 got int 7"),
    (fit(window=3, device_memory=150, data=(X, LABELS[:3])), ValueError, "fit: data same length got lengths [6, 3]"),
    (fit(window=3, device_memory=150, data=(NAN, LABELS)), ValueError, "fit: data: x finite got first in row 3"),
    (fit(window=3, device_memory=150, data=(X, LABELS + 3)), ValueError, "softmax_cross_entropy: target labels in 0..2 got 3..3"),
    (fit(window=3, device_memory=150, data=(X.astype("uint8"), LABELS)), TypeError, "fit: data: x floating point got uint8"),
    (fit(window=3, device_memory=180, data=(X, LABELS, -np.ones(6, "float32"))), ValueError, "fit: data: weight non-negative got negative weight, first in row"),
    (fit(data=iter([(X, LABELS)])), TypeError, "fit: data function epoch -> iterator of batches got list_iterator"),
    (fit(data=lambda epoch: 3), TypeError, "fit: data function epoch -> iterator of batches got one that returns int 3"),
    (fit(data=lambda epoch: ONCE), ValueError, "fit: data new iterator at each call got same one again"),
    (stream(), ValueError, "fit: data at least one batch 1 of epoch 1 got none"),
    (stream(None, X), TypeError, "fit: data: batch 2 of epoch 1 (x, y) got ndarray"),
    (stream(None, (X[:3], "abc")), TypeError, "fit: data: batch 2 of epoch 1: y array of numbers got str"),
    (stream(None, (X[:3], LABELS[:3], X[:3, 0])), ValueError, "fit: data: batch 2 of epoch 1 float32 (rows, 4) and int as the first got float32 (rows, 4) and int"),
    (stream(None, (X[:3, :2], LABELS[:3])), ValueError, "fit: data: batch 2 of epoch 1 float32 (rows, 4) got float32 (rows, 2)"),
    (stream(None, (X[:3].astype("float16"), LABELS[:3])), ValueError, "fit: data: batch 2 of epoch 1 float32 (rows, 4) got float16 (rows, 4)"),
    (stream(None, (X[:3].astype("int32"), LABELS[:3])), ValueError, "fit: data: batch 2 of epoch 1 float32 (rows, 4) got int32 (rows, 4)"),
    (stream(None, (X[:3], LABELS[:2])), ValueError, "fit: data: batch 2 of epoch 1 same length got lengths [3, 2]"),
    (stream(None, (NAN[2:5], LABELS[:3])), ValueError, "fit: data: x finite got first in row 1 of batch 2 of epoch 1"),
    (stream(None, (X[:3], LABELS[:3] - 1)), ValueError, "softmax_cross_entropy: target labels in 0..2 got -1..0 first in row 0 of batch 2 of epoch 1: -1"),
    (stream(None, device_memory=119), ValueError, "fit: device_memory at least 120 got int 119"),
    # evaluate, predict, runs
    (evaluate(X, LABELS + 3), ValueError, "softmax_cross_entropy: target labels in 0..2 got 3..3"),
    (evaluate(NAN, LABELS), ValueError, "evaluate: data: x finite got first in row 3"),
    (evaluate(X, LABELS[:2]), ValueError, "evaluate: data same length got lengths [6, 2]"),
    (evaluate(X, LABELS, batch_size=0), ValueError, "evaluate: batch_size positive integer got int 0"),
    (evaluate(X), TypeError, "evaluate: the batch (x, y) got tuple"),
    (lambda: fnn.predict(NETWORK, PARAMS, X.astype("int32")), TypeError, "predict: x floating point got int32"),
    (lambda: fnn.predict(NETWORK, PARAMS, X[:0]), ValueError, "predict: data at least one example got none"),
    (lambda: fnn.predict(NETWORK, PARAMS, X, 0), ValueError, "predict: batch_size positive integer got int 0"),
    (lambda: fnn.predict(PARAMS, NETWORK, X), TypeError, "predict: network Layer got tuple"),
    (run(epochs=0), ValueError, "make_run: epochs positive integer got int 0"),
    (run(batch_size=7), ValueError, "make_run: batch_size at most 6 got int 7"),
    (run(data=(NAN, LABELS)), ValueError, "make_run: data: x finite got first in row 3"),
    (run(data=(X, LABELS + 3)), ValueError, "softmax_cross_entropy: target labels in 0..2 got 3..3"),
    (lambda: fnn.make_run(NETWORK, jnp.sin, fnn.sgd, (X, TARGETS), epochs=1, batch_size=1), TypeError, "make_run: loss Loss got"),
    (lambda: fnn.make_run(3, fnn.squared_error, fnn.sgd, (X, TARGETS), epochs=1, batch_size=1), TypeError, "make_run: network Layer got int 3"),
    (lambda: run()()(0.1, 0), TypeError, "init_state: key jax.random.key(0) got int32"),
    (lambda: fnn.make_run(NETWORK, fnn.squared_error, fnn.sgd(0.1), (X, TARGETS), epochs=1, batch_size=1), TypeError, "make_run: make_optimizer function got GradientTransformation"),
    # data
    (lambda: data.standardize(X.astype("int32")), TypeError, "standardize: x floating point got int32"),
    (lambda: data.standardize(X[:, :2], data.fit_standardization(X)), ValueError, "standardize: x (examples, 4) got float32 of shape (6, 2)"),
    (lambda: data.fit_standardization(X[:0]), ValueError, "fit_standardization: x at least one got float32 of shape (0, 4)"),
    (lambda: data.one_hot(np.array([0, 3]), 3), ValueError, "one_hot: labels 0..2 got 0..3"),
    (lambda: data.one_hot(np.array([0.0, 1.0]), 3), TypeError, "one_hot: labels integers got float"),
    (lambda: data.one_hot(np.zeros((2, 2), "int32"), 3), ValueError, "one_hot: labels (batch,) got int32 of shape (2, 2)"),
    (lambda: data.one_hot(np.array([0]), 0), ValueError, "one_hot: k positive integer got int 0"),
    (lambda: data.split(KEY, (X, LABELS), (0.5, 0.6)), ValueError, "split: fractions sum 1 got tuple (0.5, 0.6)"),
    (lambda: data.split(KEY, (X, LABELS), (1.5, -0.5)), ValueError, "split: fractions non-negative got tuple (1.5, -0.5)"),
    (lambda: data.split(KEY, (X, LABELS), (float("nan"), 0.5)), ValueError, "split: fractions sum 1 got tuple (nan, 0.5)"),
    (lambda: data.split(KEY, (X, LABELS[:2]), (0.5, 0.5)), ValueError, "split: data same length got lengths [6, 2]"),
    (lambda: data.split(KEY, (X,), (0.5, 0.5), stratify=LABELS[:3]), ValueError, "split: stratify (6,) got int32 of shape (3,)"),
    (lambda: list(data.batches(KEY, (X,), 7)), ValueError, "batches: batch_size at most 6 got int 7"),
    (lambda: list(data.batches(KEY, (), 1)), ValueError, "batches: data arrays got shapes []"),
]  # fmt: skip
