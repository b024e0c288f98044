"""Layers on sequences, for the tests of all layers."""

import fnn

SEQUENCE = (3, 5, 6)

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

SLOW = {name for name in SEQUENCE_LAYERS if any(part in name for part in ("one_position", "attention_", "block"))} | {
    "rnn_relu",
    "repeat_lstm",
    "lstm_twice",
    "conv1d",
    "conv1d_stride",
}
