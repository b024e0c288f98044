"""PyTorch's modules for sequences: nn.LSTM and nn.GRU, a GPT as nanoGPT writes it, attention."""

# pyright: reportMissingImports=false

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.peers import Job
from experiments.benchmarks.sequences import (
    ATTENTION_POSITIONS,
    attention_arrays,
    gpt_weights,
    recurrent_weights,
    timed_lengths,
)
from experiments.benchmarks.workloads import Workload


class Block(nn.Module):
    """A block of a GPT as nanoGPT writes it, with GPT-2's form of GELU."""

    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = heads
        self.ln_1, self.c_attn, self.c_proj = nn.LayerNorm(d), nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.ln_2, self.c_fc, self.gelu, self.out = (
            nn.LayerNorm(d),
            nn.Linear(d, 4 * d),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * d, d),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, d = x.shape
        qkv = self.c_attn(self.ln_1(x)).split(d, dim=2)
        q, k, v = (a.view(batch, time, self.heads, d // self.heads).transpose(1, 2) for a in qkv)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(batch, time, d))
        return x + self.out(self.gelu(self.c_fc(self.ln_2(x))))


class Gpt(nn.Module):
    """A GPT as nanoGPT writes it, whose output matrix is that of its embedding."""

    def __init__(self, work: Workload):
        super().__init__()
        vocabulary, d = work.sizes
        self.wte, self.wpe = nn.Embedding(vocabulary, d), nn.Embedding(work.positions, d)
        self.blocks = nn.ModuleList([Block(d, work.heads) for _ in range(work.layers)])
        self.ln_f = nn.LayerNorm(d)
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), as_torch(gpt_weights(work), work.layers), strict=True):
                parameter.copy_(torch.from_numpy(value.copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.wte(x) + self.wpe(torch.arange(x.shape[1], device=x.device))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


def as_torch(leaves: list[np.ndarray], layers: int) -> list[np.ndarray]:
    """Return the weights of `gpt_weights` in the order and layout of the module's parameters."""
    found = leaves[:2]
    for i in range(layers):
        g1, b1, w_qkv, w_o, b_qkv, b_o, g2, b2, w_1, b_3, w_2, b_4 = leaves[2 + 12 * i : 14 + 12 * i]
        found += [g1, b1, w_qkv.T, b_qkv, w_o.T, b_o, g2, b2, w_1.T, b_3, w_2.T, b_4]
    return found + leaves[-2:]


class LastState(nn.Module):
    """A recurrent layer, and a linear one on its output at the last position."""

    def __init__(self, work: Workload):
        super().__init__()
        n_in, n, k = work.sizes
        weights = recurrent_weights(work)
        self.cell = {"lstm": nn.LSTM, "gru": nn.GRU}[work.cell](n_in, n, batch_first=True)
        self.head = nn.Linear(n, k)
        with torch.no_grad():
            inner = np.zeros_like(weights.b)
            if work.cell == "gru":
                inner[2 * n :] = weights.c
            cell = (weights.w.T, weights.u.T, weights.b, inner)
            for parameter, value in zip(self.parameters(), (*cell, weights.v.T, weights.d), strict=True):
                parameter.copy_(torch.from_numpy(value.copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell(x)[0][:, -1])


def attention(work: Workload, device: torch.device, wait: Callable[[], None]) -> Job:
    """A unit is outputs and gradients of two products around scaled_dot_product_attention, at each length."""
    d = work.sizes[0]
    arrays = {n: [torch.from_numpy(a).to(device) for a in attention_arrays(work, n)] for n in ATTENTION_POSITIONS}

    def run(of: list[torch.Tensor]) -> list[torch.Tensor]:
        w_qkv, w_o, x = (a.detach().requires_grad_() for a in of[:3])
        qkv = (x @ w_qkv).split(d, dim=2)
        q, k, v = (a.view(*x.shape[:2], work.heads, d // work.heads).transpose(1, 2) for a in qkv)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = o.transpose(1, 2).reshape(x.shape) @ w_o
        found = [y.detach(), *torch.autograd.grad(y, (w_qkv, w_o, x), of[3])]
        wait()
        return found

    return timed_lengths(run, arrays, work.batch, {})
