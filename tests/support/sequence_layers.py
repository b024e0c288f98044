"""Layers on sequences, for the tests of all layers; and what is wrong in copies of them."""

import fnn

SEQUENCE = (3, 5, 6)

SEQUENCE_LAYERS = {
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
    "remat_gru": (fnn.remat(fnn.gru(6, 4)), SEQUENCE),
}

SLOW = {name for name in SEQUENCE_LAYERS if "one_position" in name} | {"rnn_relu", "repeat_lstm", "lstm_twice"}
