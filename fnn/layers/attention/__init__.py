"""Attention, with its backward pass written by hand. Each backward is under its forward.

layer.py      the layer: projections, heads, and what it keeps
core.py       what computes O: one of the following three, or a kernel of your own
stored.py     softmax attention that keeps its probabilities, for short sequences
blockwise.py  softmax attention that computes them again, block by block, for long ones
cudnn.py      the fused kernels of cuDNN, for long sequences in bfloat16 or float16 on NVIDIA GPUs
rotary.py     rotary positions
cache.py      keys and values of the positions read so far
"""

from fnn.layers.attention.core import AttentionCore as AttentionCore
from fnn.layers.attention.core import blockwise_attention as blockwise_attention
from fnn.layers.attention.core import cudnn_attention as cudnn_attention
from fnn.layers.attention.core import stored_attention as stored_attention
from fnn.layers.attention.layer import Attention as Attention
from fnn.layers.attention.layer import attention as attention
