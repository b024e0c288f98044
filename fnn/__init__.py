"""Functional neural networks in JAX, with hand-written and verified backward passes.

Every layer and loss has its backward pass directly under its forward pass. Arrays are row-major, batch first: each
example is a row. Course notes often write examples as columns. The two notations correspond as follows:

    fnn                      course notes           meaning
    X (m, n_in)              X (n_in, m)            m examples with n_in features each
    w (n_in, n_out)          W (n_out, n_in)        weights of a layer: w = Wᵀ
    b (n_out,)               b (n_out, 1)           biases
    Z = X w + b              Z = W X + b            the linear part of a layer
    A = g(Z)                 A = g(Z)               the activation of a layer
    dw = Xᵀ dZ               dW = (1/m) dZ Xᵀ       gradient of the cost J; in fnn dZ already contains 1/m
    db = Σ_batch dZ          db = (1/m) Σ dZ
    dX = dZ wᵀ               dX = Wᵀ dZ
    J = 1/m Σ L + λ/2 ‖w‖²   the same               the cost: the mean loss, and a penalty on weights, not biases
    learning_rate, beta      α, β                   learning rate, momentum coefficient
"""

import importlib
import importlib.util
import inspect
import typing

from fnn import checkpoint as checkpoint
from fnn import data as data
from fnn import init as init
from fnn import interchange as interchange
from fnn import sharding as sharding
from fnn.backprop import value_and_grad as value_and_grad
from fnn.generation import Beams as Beams
from fnn.generation import beam_search as beam_search
from fnn.generation import sample as sample
from fnn.interchange import from_torch_names as from_torch_names
from fnn.interchange import torch_names as torch_names
from fnn.layers.activations import elementwise as elementwise
from fnn.layers.activations import identity as identity
from fnn.layers.activations import leaky_relu as leaky_relu
from fnn.layers.activations import relu as relu
from fnn.layers.activations import sigmoid as sigmoid
from fnn.layers.activations import silu as silu
from fnn.layers.activations import softmax as softmax
from fnn.layers.activations import softplus as softplus
from fnn.layers.activations import tanh as tanh
from fnn.layers.add import add as add
from fnn.layers.attention import Attention as Attention
from fnn.layers.attention import AttentionCore as AttentionCore
from fnn.layers.attention import attention as attention
from fnn.layers.attention import blockwise_attention as blockwise_attention
from fnn.layers.attention import cudnn_attention as cudnn_attention
from fnn.layers.attention import stored_attention as stored_attention
from fnn.layers.combinators import Residual as Residual
from fnn.layers.combinators import residual as residual
from fnn.layers.combinators import serial as serial
from fnn.layers.conv import Conv2d as Conv2d
from fnn.layers.conv import conv2d as conv2d
from fnn.layers.conv1d import Conv1d as Conv1d
from fnn.layers.conv1d import conv1d as conv1d
from fnn.layers.conv_transpose import conv2d_transpose as conv2d_transpose
from fnn.layers.dense import Dense as Dense
from fnn.layers.dense import dense as dense
from fnn.layers.dense import flatten as flatten
from fnn.layers.dropout import dropout as dropout
from fnn.layers.embedding import Embedding as Embedding
from fnn.layers.embedding import embedding as embedding
from fnn.layers.gelu import gelu as gelu
from fnn.layers.gelu import gelu_tanh as gelu_tanh
from fnn.layers.models import convnet as convnet
from fnn.layers.models import logistic_regression as logistic_regression
from fnn.layers.models import mlp as mlp
from fnn.layers.models import softmax_regression as softmax_regression
from fnn.layers.normalization import BatchNorm as BatchNorm
from fnn.layers.normalization import LayerNorm as LayerNorm
from fnn.layers.normalization import batch_norm as batch_norm
from fnn.layers.normalization import calibrate as calibrate
from fnn.layers.normalization import layer_norm as layer_norm
from fnn.layers.pooling import avg_pool2d as avg_pool2d
from fnn.layers.pooling import max_pool2d as max_pool2d
from fnn.layers.positions import Positions as Positions
from fnn.layers.positions import learned_positions as learned_positions
from fnn.layers.precision import dynamic_loss_scale as dynamic_loss_scale
from fnn.layers.precision import mixed_precision as mixed_precision
from fnn.layers.ragged import Ragged as Ragged
from fnn.layers.ragged import mean_positions as mean_positions
from fnn.layers.ragged import ragged as ragged
from fnn.layers.recurrent import GRU as GRU
from fnn.layers.recurrent import LSTM as LSTM
from fnn.layers.recurrent import RNN as RNN
from fnn.layers.recurrent import Bidirectional as Bidirectional
from fnn.layers.recurrent import bidirectional as bidirectional
from fnn.layers.recurrent import gru as gru
from fnn.layers.recurrent import last as last
from fnn.layers.recurrent import lstm as lstm
from fnn.layers.recurrent import rnn as rnn
from fnn.layers.repeat import repeat as repeat
from fnn.layers.rms_norm import RMSNorm as RMSNorm
from fnn.layers.rms_norm import rms_norm as rms_norm
from fnn.layers.streams import start_memory as start_memory
from fnn.layers.summary import Summary as Summary
from fnn.layers.summary import count_params as count_params
from fnn.layers.summary import summary as summary
from fnn.layers.swiglu import SwiGLU as SwiGLU
from fnn.layers.swiglu import swiglu as swiglu
from fnn.layers.tied_embedding import TiedEmbedding as TiedEmbedding
from fnn.layers.tied_embedding import tied_embedding as tied_embedding
from fnn.layers.transformer import gpt as gpt
from fnn.layers.transformer import transformer_block as transformer_block
from fnn.layers.wrappers import as_custom_vjp as as_custom_vjp
from fnn.layers.wrappers import autodiff as autodiff
from fnn.layers.wrappers import remat as remat
from fnn.losses import binary_cross_entropy as binary_cross_entropy
from fnn.losses import huber as huber
from fnn.losses import negative_log_likelihood as negative_log_likelihood
from fnn.losses import sigmoid_cross_entropy as sigmoid_cross_entropy
from fnn.losses import smoothed_cross_entropy as smoothed_cross_entropy
from fnn.losses import softmax_cross_entropy as softmax_cross_entropy
from fnn.losses import squared_error as squared_error
from fnn.losses import token_cross_entropy as token_cross_entropy
from fnn.metrics import accuracy as accuracy
from fnn.metrics import binary_accuracy as binary_accuracy
from fnn.metrics import token_accuracy as token_accuracy
from fnn.optimizers import adam as adam
from fnn.optimizers import add_l2 as add_l2
from fnn.optimizers import heavy_ball as heavy_ball
from fnn.optimizers import momentum as momentum
from fnn.optimizers import nesterov as nesterov
from fnn.optimizers import sgd as sgd
from fnn.sweeps.masked import masked_dense as masked_dense
from fnn.sweeps.masked import masked_mlp as masked_mlp
from fnn.sweeps.result import SweepResult as SweepResult
from fnn.sweeps.run import make_run as make_run
from fnn.sweeps.sweep import sweep as sweep
from fnn.sweeps.table import Table as Table
from fnn.training.epoch import make_epoch as make_epoch
from fnn.training.evaluation import evaluate as evaluate
from fnn.training.evaluation import predict as predict
from fnn.training.fit import fit as fit
from fnn.training.plateau import Plateau as Plateau
from fnn.training.plateau import reduce_on_plateau as reduce_on_plateau
from fnn.training.plateau import report_epoch as report_epoch
from fnn.training.step import init_state as init_state
from fnn.training.step import make_step as make_step
from fnn.training.stream_step import make_stream_step as make_stream_step
from fnn.types import FitResult as FitResult
from fnn.types import GradientTransformation as GradientTransformation
from fnn.types import Layer as Layer
from fnn.types import Loss as Loss
from fnn.types import RunResult as RunResult
from fnn.types import Stream as Stream
from fnn.types import TrainState as TrainState
from fnn.weights import is_weight as is_weight

if typing.TYPE_CHECKING:
    from fnn import estimators as estimators
    from fnn import gradcheck as gradcheck
    from fnn import plot as plot
    from fnn import search as search

__version__ = "0.1.0"

_LAZY = ("callbacks", "estimators", "gradcheck", "plot", "search")
"""The modules that are imported when they are first used: training does not need them, nor what they import."""

_MODULES = ("checkpoint", "data", "init", "interchange", "sharding")
"""The other public modules. The rest of the modules of fnn are private."""

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    name
    for name, value in globals().items()
    if not name.startswith("_") and (name in _MODULES or not inspect.ismodule(value))
]


def __getattr__(name: str):
    """Import a module of `_LAZY` when it is first used."""
    if name in _LAZY:
        return importlib.import_module(f"fnn.{name}")
    raise AttributeError(f"module 'fnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names. Those of modules that are not imported yet are among them; nothing is imported.

    `estimators` is only among them if scikit-learn is installed: `help(fnn)` reads each name, and could not read it.
    """
    lazy = [name for name in _LAZY if name != "estimators" or importlib.util.find_spec("sklearn")]
    return sorted([*__all__, *lazy, "__doc__", "__version__"])
