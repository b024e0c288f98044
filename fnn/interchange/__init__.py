"""Networks and parameters for other tools: PyTorch, and programs that run without fnn.

| function | what it does |
|---|---|
| `torch_names`, `from_torch_names` | parameters as the state_dict of the same `nn.Sequential` of PyTorch, and back |
| `to_stablehlo`, `from_stablehlo` | the forward pass as a program that JAX runs without fnn, and as a function again |
| `to_onnx` | the forward pass as an ONNX model |

`fnn.checkpoint.export_params` writes parameters as a safetensors file, which many tools read.
"""

from fnn.interchange.onnx import to_onnx as to_onnx
from fnn.interchange.stablehlo import from_stablehlo as from_stablehlo
from fnn.interchange.stablehlo import to_stablehlo as to_stablehlo
from fnn.interchange.torch_sequential import from_torch_names as from_torch_names
from fnn.interchange.torch_sequential import torch_names as torch_names
