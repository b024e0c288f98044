"""Attention, with its backward pass written by hand. Each backward is under its forward.

layer.py     the layer: projections, heads, and what it keeps
core.py      softmax attention that keeps its probabilities, for short sequences
segments.py  softmax attention that computes them again, block by block, for long ones
rotary.py    rotary positions
cache.py     keys and values of the positions read so far
"""

from fnn.layers.attention.layer import Attention as Attention
from fnn.layers.attention.layer import attention as attention
