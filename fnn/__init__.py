"""fnn: functional neural networks in JAX. Every backward pass is written by hand, under its forward, and checked.

Arrays are row-major, batch first; the notes behind the project write examples as columns. The mapping, once:

    here                     the notes              meaning
    X (m, n_in)              X (n_in, m)            m examples of n_in features, a row each (the notes: a column)
    w (n_in, n_out)          W (n_out, n_in)        weights of a layer: w = Wᵀ
    b (n_out,)               b (n_out, 1)           biases
    Z = X w + b              Z = W X + b            the linear part of a layer
    A = g(Z)                 A = g(Z)               its activation
    dw = Xᵀ dZ               dW = (1/m) dZ Xᵀ       d… is the gradient of the cost J; here 1/m is in dZ already
    db = Σ_batch dZ          db = (1/m) Σ dZ
    dX = dZ wᵀ               dX = Wᵀ dZ
    J = 1/m Σ L + λ/2 ‖w‖²   the same               the cost, L per example, the penalty over weights only
    learning_rate, beta      α, β                   step length, momentum
"""

import importlib
from typing import TYPE_CHECKING

from fnn import checkpoint as checkpoint
from fnn import data as data
from fnn import init as init
from fnn import sharding as sharding
from fnn.activations import elementwise as elementwise
from fnn.activations import gelu as gelu
from fnn.activations import gelu_tanh as gelu_tanh
from fnn.activations import identity as identity
from fnn.activations import leaky_relu as leaky_relu
from fnn.activations import relu as relu
from fnn.activations import sigmoid as sigmoid
from fnn.activations import silu as silu
from fnn.activations import softmax as softmax
from fnn.activations import softplus as softplus
from fnn.activations import tanh as tanh
from fnn.adapters import as_custom_vjp as as_custom_vjp
from fnn.adapters import autodiff as autodiff
from fnn.backprop import value_and_grad as value_and_grad
from fnn.combinators import Residual as Residual
from fnn.combinators import repeat as repeat
from fnn.combinators import residual as residual
from fnn.combinators import serial as serial
from fnn.conv import Conv2d as Conv2d
from fnn.conv import avg_pool2d as avg_pool2d
from fnn.conv import conv2d as conv2d
from fnn.conv import max_pool2d as max_pool2d
from fnn.evaluation import evaluate as evaluate
from fnn.evaluation import predict as predict
from fnn.fit import fit as fit
from fnn.layers import Dense as Dense
from fnn.layers import dense as dense
from fnn.layers import dropout as dropout
from fnn.layers import flatten as flatten
from fnn.losses import accuracy as accuracy
from fnn.losses import binary_accuracy as binary_accuracy
from fnn.losses import binary_cross_entropy as binary_cross_entropy
from fnn.losses import negative_log_likelihood as negative_log_likelihood
from fnn.losses import sigmoid_cross_entropy as sigmoid_cross_entropy
from fnn.losses import softmax_cross_entropy as softmax_cross_entropy
from fnn.losses import squared_error as squared_error
from fnn.masked import masked_dense as masked_dense
from fnn.masked import masked_mlp as masked_mlp
from fnn.models import convnet as convnet
from fnn.models import logistic_regression as logistic_regression
from fnn.models import mlp as mlp
from fnn.models import softmax_regression as softmax_regression
from fnn.normalization import BatchNorm as BatchNorm
from fnn.normalization import LayerNorm as LayerNorm
from fnn.normalization import batch_norm as batch_norm
from fnn.normalization import calibrate as calibrate
from fnn.normalization import layer_norm as layer_norm
from fnn.optimizers import adam as adam
from fnn.optimizers import add_l2 as add_l2
from fnn.optimizers import heavy_ball as heavy_ball
from fnn.optimizers import momentum as momentum
from fnn.optimizers import nesterov as nesterov
from fnn.optimizers import sgd as sgd
from fnn.precision import dynamic_loss_scale as dynamic_loss_scale
from fnn.precision import mixed_precision as mixed_precision
from fnn.precision import remat as remat
from fnn.run import make_run as make_run
from fnn.summaries import Summary as Summary
from fnn.summaries import count_params as count_params
from fnn.summaries import summary as summary
from fnn.sweeps import SweepResult as SweepResult
from fnn.sweeps import sweep as sweep
from fnn.tables import Table as Table
from fnn.train import init_state as init_state
from fnn.train import make_epoch as make_epoch
from fnn.train import make_step as make_step
from fnn.types import FitResult as FitResult
from fnn.types import GradientTransformation as GradientTransformation
from fnn.types import Layer as Layer
from fnn.types import Loss as Loss
from fnn.types import RunResult as RunResult
from fnn.types import TrainState as TrainState

if TYPE_CHECKING:
    from fnn import gradcheck as gradcheck

__version__ = "0.1.0"


def __getattr__(name: str):
    """`fnn.gradcheck` is imported when it is first used: training needs none of it."""
    if name == "gradcheck":
        return importlib.import_module("fnn.gradcheck")
    raise AttributeError(f"module 'fnn' has no attribute {name!r}")
