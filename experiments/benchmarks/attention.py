"""The workload `attention` in JAX: outputs and gradients of causal self-attention, at several lengths.

A peer is a function W_qkv, W_o, X, dY -> Y, dW_qkv, dW_o, dX.
"""

from typing import Any

import jax
import jax.numpy as jnp

import fnn
from experiments.benchmarks.peers import Job
from experiments.benchmarks.sequences import ATTENTION_POSITIONS, attention_arrays, timed_lengths
from experiments.benchmarks.workloads import Workload


def make(name: str, work: Workload) -> Job:
    """Return the job of fnn's layer, of jax.grad of its forward, or of jax.vjp of jax.nn's attention."""
    d, heads = work.sizes[0], work.heads
    layer = fnn.attention(d, heads, bias=False)
    if name == "fnn-autodiff":
        layer = fnn.autodiff(layer)

    def by_layer(w_qkv: jax.Array, w_o: jax.Array, x: jax.Array, dy: jax.Array) -> Any:
        params = fnn.Attention(w_qkv, w_o)
        y, residuals = layer.forward(params, x)
        dparams, dx = layer.backward(params, residuals, dy)
        return y, dparams.w_qkv, dparams.w_o, dx

    def by_jax(w_qkv: jax.Array, w_o: jax.Array, x: jax.Array, dy: jax.Array) -> Any:
        def attend(w_qkv: jax.Array, w_o: jax.Array, x: jax.Array) -> jax.Array:
            q, k, v = (a.reshape(*x.shape[:2], heads, d // heads) for a in jnp.split(x @ w_qkv, 3, axis=-1))
            return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ w_o

        y, pull = jax.vjp(attend, w_qkv, w_o, x)
        return y, *pull(dy)

    arrays = {n: [jnp.asarray(a) for a in attention_arrays(work, n)] for n in ATTENTION_POSITIONS}
    programs, memory = {}, {}
    for positions, of in arrays.items():
        program = jax.jit(by_jax if name == "jax" else by_layer).lower(*of).compile()
        programs[of[2].shape] = program
        analysis = program.memory_analysis()
        memory[f"T = {positions}: MiB"] = analysis.temp_size_in_bytes / 2**20 if analysis else float("nan")
    job = timed_lengths(lambda of: jax.block_until_ready(programs[of[2].shape](*of)), arrays, work.batch, memory)
    return job._replace(note="jax.vjp of jax.nn.dot_product_attention" if name == "jax" else "")
