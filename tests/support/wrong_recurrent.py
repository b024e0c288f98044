"""Recurrent layers with a fault planted in the backward pass: {fault: (layer, paths of the leaves it makes wrong)}."""

from importlib import import_module
from unittest import mock

import jax
import jax.numpy as jnp

import fnn
from fnn.layers.recurrent import products

RNN, GRU, LSTM = fnn.rnn(6, 4), fnn.gru(6, 4), fnn.lstm(6, 4)
ALL = {"[0].w", "[0].u", "[0].b", "[1]"}
scan = jax.lax.scan
modules = {name: import_module(f"fnn.layers.recurrent.{name}") for name in ("rnn", "lstm")}


def with_patch(layer, target, name, value):
    """Return the layer with a name of a module replaced while its backward runs."""

    def backward(params, residuals, dy):
        with mock.patch.object(target, name, value):
            return layer.backward(params, residuals, dy)

    return layer._replace(backward=backward)


def with_params(layer, change):
    """Return the layer with other parameters in its backward."""
    return layer._replace(backward=lambda params, r, dy: layer.backward(change(params), r, dy))


def with_residuals(layer, change):
    """Return the layer with other residuals in its backward."""
    return layer._replace(backward=lambda params, r, dy: layer.backward(params, change(params, r), dy))


def with_gradient(layer, change):
    """Return the layer with another gradient of its parameters."""

    def backward(params, residuals, dy):
        dparams, dx = layer.backward(params, residuals, dy)
        return change(dparams), dx

    return layer._replace(backward=backward)


def outputs_instead(h0, y):
    """h_t for h_{t-1}"""
    return jnp.swapaxes(y, 0, 1)


def output_gate_first(d):
    """The columns of i, f, o, g for those of i, f, g, o."""
    i, f, g, o = jnp.split(d, 4, axis=-1)
    return jnp.concatenate([i, f, o, g], axis=-1)


def later_cell(params, residuals):
    """c_t for c_{t-1}"""
    *rest, gates, last = residuals
    return *rest, (*gates[:4], jnp.concatenate([gates[4][1:], last[None]])), last


def without_inner_bias(params, residuals):
    """q = h_{t-1} U_n for q = h_{t-1} U_n + c"""
    x, h0, y, (r, z, m, q) = residuals
    return x, h0, y, (r, z, m, q - params.c[None, None, :])


WRONG = {
    "rnn: h_t for h_{t-1} in dU": (with_patch(RNN, modules["rnn"], "previous", outputs_instead), {"[0].u"}),
    "lstm: h_t for h_{t-1} in dU": (with_patch(LSTM, modules["lstm"], "previous", outputs_instead), {"[0].u"}),
    "rnn: the time order of the forward pass": (
        with_patch(RNN, jax.lax, "scan", lambda f, init, xs, reverse: scan(f, init, xs)),
        ALL,
    ),
    "rnn: U for its transpose": (with_params(RNN, lambda p: p._replace(u=p.u.T)), ALL),
    "lstm: no gradient through time": (with_params(LSTM, lambda p: p._replace(u=0 * p.u)), ALL),
    "rnn: db of the last position only": (
        with_patch(RNN, products, "sum_positions", lambda d, like: d[-1].sum(0)),
        {"[0].b"},
    ),
    "lstm: gates in another order": (
        with_gradient(LSTM, lambda d: jax.tree.map(output_gate_first, d)),
        {"[0].w", "[0].u", "[0].b"},
    ),
    "lstm: c_t for c_{t-1}": (with_residuals(LSTM, later_cell), ALL),
    "gru: dc without the reset gate": (with_gradient(GRU, lambda d: d._replace(c=d.b[8:])), {"[0].c"}),
    "gru: no inner bias in q": (with_residuals(GRU, without_inner_bias), {*ALL, "[0].c"}),
}
