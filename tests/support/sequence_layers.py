"""Layers on sequences, for the tests of all layers."""

import jax.numpy as jnp

import fnn

SEQUENCE = (3, 5, 6)


def some_lengths(x):
    """Return the lengths 5, 2, 0 of three sequences of five positions."""
    return jnp.maximum(x.shape[1] - 3 * jnp.arange(x.shape[0], dtype=jnp.int32), 0)


SEQUENCE_LAYERS = {
    "dense_positions": (fnn.dense(6, 4), SEQUENCE),
    "dense_tiny_positions": (fnn.dense(2, 1), (3, 2, 5, 2)),
    "rnn": (fnn.rnn(6, 4), SEQUENCE),
    "rnn_relu": (fnn.rnn(6, 4, fnn.relu), SEQUENCE),
    "rnn_one_position": (fnn.rnn(6, 4), (3, 1, 6)),
    "gru": (fnn.gru(6, 4), SEQUENCE),
    "gru_reset_before": (fnn.gru(6, 4, reset_after=False), SEQUENCE),
    "gru_one_position": (fnn.gru(6, 4), (3, 1, 6)),
    "lstm": (fnn.lstm(6, 4), SEQUENCE),
    "lstm_one_position": (fnn.lstm(6, 4), (3, 1, 6)),
    "lstm_twice": (fnn.serial(fnn.lstm(6, 4), fnn.gru(4, 3)), SEQUENCE),
    "repeat_lstm": (fnn.repeat(fnn.residual(fnn.lstm(6, 6)), 2), SEQUENCE),
    "bidirectional": (fnn.bidirectional(fnn.rnn(6, 4), fnn.rnn(6, 2)), SEQUENCE),
    "last": (fnn.last(), SEQUENCE),
    "mean_positions": (fnn.mean_positions(), SEQUENCE),
    "ragged_last": (fnn.ragged(fnn.rnn(6, 4), fnn.last(), some_lengths), SEQUENCE),
    "ragged_mean": (fnn.ragged(fnn.identity, fnn.mean_positions(), some_lengths), SEQUENCE),
    "ragged_both_ways": (
        fnn.ragged(fnn.identity, fnn.bidirectional(fnn.rnn(6, 4), fnn.rnn(6, 2)), some_lengths),
        SEQUENCE,
    ),
    "rms_norm": (fnn.rms_norm(6), SEQUENCE),
    "swiglu": (fnn.swiglu(6, 5), SEQUENCE),
    "learned_positions": (fnn.learned_positions(7, 6), SEQUENCE),
    "conv1d": (fnn.conv1d(6, 4, 3, padding="SAME"), SEQUENCE),
    "conv1d_causal": (fnn.conv1d(6, 4, 2, dilation=2, causal=True), SEQUENCE),
    "conv1d_stride": (fnn.conv1d(6, 4, 2, stride=2, dilation=2), SEQUENCE),
    "remat_gru": (fnn.remat(fnn.gru(6, 4)), SEQUENCE),
    "attention": (fnn.attention(6, 2), SEQUENCE),
    "attention_all_keys": (fnn.attention(6, 3, causal=False, bias=False), SEQUENCE),
    "attention_rotary_groups": (fnn.attention(8, 4, rotary=True, kv_heads=2), (3, 5, 8)),
    "attention_long": (fnn.attention(4, 2, rotary=True, kv_heads=1), (2, 130, 4)),
    "transformer_block": (fnn.transformer_block(6, 2, dropout=0.2), SEQUENCE),
    "repeat_transformer_block": (fnn.repeat(fnn.transformer_block(6, 2), 2), SEQUENCE),
}

QUICK = {
    "dense_positions", "rnn", "gru", "lstm", "bidirectional", "last",
    "rms_norm", "swiglu", "learned_positions", "conv1d_causal", "attention",
}  # fmt: skip
SLOW = {*SEQUENCE_LAYERS} - QUICK
