"""Layers: each has its hand-written backward directly under its forward.

| module | layers |
|---|---|
| `dense`, `dropout` | `dense`, `flatten`; `dropout` |
| `activations`, `gelu` | the activations, `elementwise`; `gelu`, `gelu_tanh` |
| `conv`, `conv_transpose`, `conv1d` | `conv2d`; `conv2d_transpose`; `conv1d` |
| `pooling` | `max_pool2d`, `avg_pool2d` |
| `normalization`, `rms_norm` | `batch_norm`, `layer_norm`, `calibrate`; `rms_norm` |
| `swiglu` | `swiglu` |
| `embedding`, `positions` | `embedding`; `learned_positions` |
| `tied_embedding` | `tied_embedding` |
| `attention` | `attention` |
| `transformer` | `transformer_block`, `gpt` |
| `recurrent` | `rnn`, `gru`, `lstm`; `bidirectional`, `last` |
| `ragged`, `lengths` | `ragged`, `mean_positions`; inputs that are pairs (x, lengths) |
| `combinators`, `add`, `repeat` | `serial`, `residual`; `add`; `repeat`: layers made of layers |
| `wrappers`, `precision` | `autodiff`, `as_custom_vjp`, `remat`; `mixed_precision`: a layer computed in another way |
| `models` | `mlp`, `convnet`, `logistic_regression`, `softmax_regression` |
| `summary` | the table of a network's layers |
| `streams` | how layers and combinators read a sequence in pieces |
| `devices` | the device that a program is written for |
| `matmul`, `windows` | matrix products; sliding windows |
| `correlation`, `im2col`, `depthwise` | convolution: on each platform; its two forms on the CPU |

How to add a layer:

1. Write a builder in a module of its own. It checks its arguments with `fnn.checks` and returns `Layer(init, forward,
   backward, name=…)`; `fnn.types.Layer` has the contract.
2. Parameters are a NamedTuple with the field's letters. The default L2 penalty acts on leaves named `w`, `u` or `w_…`
   (`fnn.weights`).
3. X is (batch, …), one example per row; images are (batch, height, width, channels), sequences (batch, time, n).
   Compute in the wider of x's and the parameters' dtypes (`fnn.dtypes.widest`).
4. Residuals are a pytree of arrays, so that `jit`, `vmap` and `repeat` can carry them. `x[:0]` keeps the shape and
   the dtype of x without its values. `backward` returns gradients in the dtypes of params and of x.
5. A layer that acts on each position of a sequence alone is passed through `fnn.layers.streams.per_position`, with
   `features=True` if each output depends on the whole last axis of x.
6. Export the builder in `fnn/__init__.py`, and add a row to `LAYERS` in `tests/layers/test_layers.py`: the backward is
   then compared with `jax.vjp` of the forward, under jit, vmap and on two devices. `fnn.gradcheck.check_layer` checks
   it without a test.
"""
