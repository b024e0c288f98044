"""What a GPT keeps for its backward pass, on paper.

For n tokens on a device (sequences · length), width d, h heads, g devices that split heads and hidden units, s bytes
an entry (4 in float32, 2 in bfloat16; statistics are float32), each block of `fnn.transformer_block` keeps

    attention      X of W_qkv            n d s
                   Q, K, V               n 3 d s / g
                   P, up to 127 tokens   n h length s / g        every score of every row
                   or ℓ, from 128 on     n h 4 / g               one log-sum-exp a row; P is computed again
                   O                     n d s / g
    the rest       two norms             2 n (d s + 4)           x̂ and 1 / σ
                   X of W_1              n d s
                   Z, tanh of gelu, A    n 12 d s / g            in bfloat16 the tanh is computed again: n 8 d s / g

so in float32 on one device 4 n (20 d + 2 + h length) bytes, or 4 n (20 d + 2 + h). The part of P grows with the square
of the length, all else in proportion to it (Dao et al. 2022; Korthikanti et al. 2023 count what others keep).

With `fnn.remat` (Chen et al. 2016) a block keeps its input alone, n d s, and all of the above for one block at a time,
while it goes backward. Besides the blocks, with a vocabulary of v ids (of which a device has v / g if it is split):

    head           ids, final norm, H    n (4 + d s + 4 + d s)
                   e^Z and dZ of loss    2 n v 4

e^Z and dZ live before the blocks go backward. The largest sum is therefore the blocks and the head; with remat it is
the inputs of all blocks, and the head or what one block keeps. XLA's temporaries hold this, the gradients, and the
workspace of the operation under way; in bfloat16 also the parameters in that dtype.
"""

from typing import NamedTuple

from experiments.planning.networks import Gpt

LONG = 128
"""From this number of positions on, `fnn.attention` computes the probabilities again."""


class Activations(NamedTuple):
    """Bytes on one device at the end of the forward pass, and what the backward pass adds.

    attention   what the attention of all blocks keeps; with remat 0
    others      what the rest of all blocks keeps; with remat their inputs
    head        ids, final norm, logits
    recomputed  with remat, what one block keeps while it goes backward; otherwise 0
    """

    attention: int
    others: int
    head: int
    recomputed: int

    @property
    def blocks(self) -> int:
        """What all blocks keep."""
        return self.attention + self.others

    @property
    def peak(self) -> int:
        """The largest sum."""
        return self.blocks + max(self.head, self.recomputed)


def entry_bytes(dtype: str) -> int:
    """Return the bytes of an entry."""
    return 4 if dtype == "float32" else 2


def kept_by_block(gpt: Gpt, sequences: int, model: int = 1, dtype: str = "float32") -> tuple[int, int]:
    """Return what one block without remat keeps: the part of the attention, and the rest.

    >>> kept_by_block(Gpt(65, 32, 1, 8, 64), sequences=2)  # 4 · 64 · (5 · 64 + 8 · 32), 4 · 64 · (15 · 64 + 2)
    (147456, 246272)
    """
    n, d, s = sequences * gpt.length, gpt.width, entry_bytes(dtype)
    scores = gpt.length * s if gpt.length < LONG else 4
    attention = d * s + (4 * d * s + gpt.heads * scores) // model
    hidden = (12 if dtype == "float32" else 8) * d * s // model
    return n * attention, n * (2 * (d * s + 4) + d * s + hidden)


def activations(gpt: Gpt, sequences: int, model: int = 1, dtype: str = "float32") -> Activations:
    """Apply the formulas of this module's docstring.

    >>> activations(Gpt(65, 32, 3, 8, 64), sequences=2).blocks
    1181184
    >>> activations(Gpt(65, 32, 3, 8, 64, remat=True), sequences=2).blocks
    49152
    """
    n, s = sequences * gpt.length, entry_bytes(dtype)
    attention, others = kept_by_block(gpt, sequences, model, dtype)
    rows = gpt.vocabulary // model if gpt.split_vocabulary else gpt.vocabulary
    head = n * (4 + 2 * gpt.width * s + 4 + 2 * 4 * rows)
    if gpt.remat:
        return Activations(0, gpt.layers * n * gpt.width * s, head, attention + others)
    return Activations(gpt.layers * attention, gpt.layers * others, head, 0)
