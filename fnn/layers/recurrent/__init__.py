"""Recurrent layers, with backpropagation through time written by hand. Each backward is under its forward.

X (batch, time, n_in) holds one sequence per example, x_t (batch, n_in) is its position t, h_t (batch, n) the state
after it. All cells compute x_t W for all positions at once, before a scan over time, with a_t = x_t W + b, and

    dW = Σ_t x_tᵀ da_t, db = Σ_t da_t, dx_t = da_t Wᵀ, dU = Σ_t h_{t-1}ᵀ dz_t

after the backward scan, each as one product or sum over all positions. Automatic differentiation of the scan has to
add up dU and db inside the loop, once per position (Werbos 1990 for backpropagation through time).

    rnn.py      the simple recurrent layer
    gru.py      gated recurrent units, with both places of the reset gate
    lstm.py     long short-term memory
    sequences.py    bidirectional, last
    products.py     the products over all positions that the cells share
"""

from fnn.layers.recurrent.gru import GRU as GRU
from fnn.layers.recurrent.gru import gru as gru
from fnn.layers.recurrent.lstm import LSTM as LSTM
from fnn.layers.recurrent.lstm import lstm as lstm
from fnn.layers.recurrent.rnn import RNN as RNN
from fnn.layers.recurrent.rnn import rnn as rnn
from fnn.layers.recurrent.sequences import Bidirectional as Bidirectional
from fnn.layers.recurrent.sequences import bidirectional as bidirectional
from fnn.layers.recurrent.sequences import last as last
