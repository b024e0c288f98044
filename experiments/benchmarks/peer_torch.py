"""PyTorch: nn.Sequential and SGD in a loop over a permutation, eager, compiled, or replayed as a CUDA graph."""

# pyright: reportMissingImports=false

import itertools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from experiments.benchmarks.peer_torch_sequences import Gpt, LastState, attention
from experiments.benchmarks.peers import Job
from experiments.benchmarks.workloads import Data, Weights, Workload, hyperparameters, initial_weights, stacked_weights

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
SEQUENTIAL = 8
"""Number of networks in a unit of a workload with many networks. PyTorch trains them one after another."""

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # float32 in full, as in JAX's peers


def wait() -> None:
    """Wait until the device has finished."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def initial_network(work: Workload) -> nn.Module:
    """Return the network with the workload's initial weights."""
    modules = {"recurrent": LastState, "gpt": Gpt}
    if work.kind in modules:
        return modules[work.kind](work).to(DEVICE)
    return make_network(work, initial_weights(work))


def make_network(work: Workload, weights: Weights) -> nn.Sequential:
    """Return the network with these weights in PyTorch's layout, channels first."""
    layers: list[nn.Module] = []
    for pair in itertools.pairwise((1, *work.filters)):
        layers += [nn.Conv2d(*pair, 5), ACTIVATIONS[work.activation](), nn.MaxPool2d(2)]
    if work.filters:
        layers.append(nn.Flatten())
    for pair in itertools.pairwise(work.sizes):
        layers += [nn.Linear(*pair), ACTIVATIONS[work.activation]()]
    network = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        with_weights = [layer for layer in network if isinstance(layer, nn.Conv2d | nn.Linear)]
        for i, (layer, (w, b)) in enumerate(zip(with_weights, weights, strict=True)):
            if w.ndim == 4:
                w = w.transpose(3, 2, 0, 1)
            elif i and i == len(work.filters):
                w = w.reshape(4, 4, -1, w.shape[1]).transpose(2, 0, 1, 3).reshape(w.shape).T
            else:
                w = w.T
            layer.weight.copy_(torch.from_numpy(w.copy()))
            if layer.bias is not None:
                layer.bias.copy_(torch.from_numpy(b.copy()))
    return network.to(DEVICE)


def cost(work: Workload, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean loss."""
    if work.loss == "sigmoid":
        return F.binary_cross_entropy_with_logits(logits, y, reduction="sum") / len(y)
    return F.cross_entropy(logits.flatten(0, -2), y.flatten())


def tensors(work: Workload, data: Data) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the training data on the device."""
    y = torch.from_numpy(data.y) if work.loss == "sigmoid" else torch.from_numpy(data.y.astype(np.int64))
    return images(work, data.x), y.to(DEVICE)


def images(work: Workload, x: np.ndarray) -> torch.Tensor:
    """Return rows of pixels on the device, as images for a cnn."""
    return torch.from_numpy(x.reshape(-1, 1, 28, 28) if work.kind == "cnn" else x).to(DEVICE)


@torch.no_grad()
def logits_of(work: Workload, network: nn.Module, x: np.ndarray) -> np.ndarray:
    """Return logits, computed in parts that fit in memory."""
    return np.concatenate([network(images(work, part)).cpu().numpy() for part in np.array_split(x, -(-len(x) // 1000))])


def run_epoch(work: Workload, step, x: torch.Tensor, y: torch.Tensor) -> None:
    """Take a step for each batch of a permutation."""
    for index in torch.randperm(work.examples, device=DEVICE).split(work.batch):
        step(x[index], y[index])


def make_step(work: Workload, network: nn.Module, optimizer: torch.optim.Optimizer, compiled: bool):
    """Return step(x, y) as in PyTorch's documentation. torch.compile compiles network and loss."""

    def evaluate(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16, work.dtype == "bfloat16", cache_enabled=False):
            return cost(work, network(x), y)

    evaluated = torch.compile(evaluate) if compiled else evaluate

    def step(x: torch.Tensor, y: torch.Tensor) -> None:
        optimizer.zero_grad()
        evaluated(x, y).backward()
        optimizer.step()

    return step


def train(name: str, work: Workload, data: Data) -> Job:
    """A unit is an epoch."""
    torch.manual_seed(0)
    x, y = tensors(work, data)
    network = initial_network(work)
    optimizer = make_optimizer(name, work, network)
    step = make_step(work, network, optimizer, name == "torch-compile")
    epoch = make_graph(work, step, optimizer, x, y) if name == "torch-graph" else lambda: run_epoch(work, step, x, y)

    def reset() -> None:
        network.load_state_dict(initial_network(work).state_dict())

    def unit() -> None:
        epoch()
        wait()

    return Job(unit, reset, lambda: logits_of(work, network, data.test_x))


def make_optimizer(name: str, work: Workload, network: nn.Module) -> torch.optim.Optimizer:
    """Return Adam for a gpt, else SGD."""
    if work.kind == "gpt":
        capturable = name == "torch-graph"
        return torch.optim.Adam(network.parameters(), lr=work.learning_rate, fused=True, capturable=capturable)
    return torch.optim.SGD(network.parameters(), lr=work.learning_rate, fused=True)


def make_graph(
    work: Workload, step, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
) -> Callable[[], None]:
    """Capture a step as a CUDA graph, and return epoch(), which replays it for each batch of a permutation.

    The graph reads the batch's indices from a static tensor. PyTorch asks for some steps on another stream before it.
    """
    index = torch.arange(work.batch, device=DEVICE)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(x[index], y[index])
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad()  # the gradients of the graph are in its own memory
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(x[index], y[index])

    def epoch() -> None:
        for batch in torch.randperm(work.examples, device=DEVICE).split(work.batch):
            index.copy_(batch)
            graph.replay()

    return epoch


def predict_only(name: str, work: Workload, data: Data) -> Job:
    """A unit is a prediction for all images."""
    network, x = make_network(work, initial_weights(work)), images(work, data.test_x)
    network = torch.compile(network) if name == "torch-compile" else network
    result = x

    def unit() -> None:
        nonlocal result
        with torch.inference_mode():
            result = network(x)
        wait()

    return Job(unit, lambda: None, lambda: result.cpu().numpy())


def many(name: str, work: Workload, data: Data) -> Job:
    """A unit trains the first few networks from their initial weights, one after another."""
    x, y = tensors(work, data)
    values, start, count = hyperparameters(work), stacked_weights(work), min(SEQUENTIAL, work.networks)
    networks: list[nn.Module] = []

    def train_one(i: int) -> nn.Module:
        hyper = {name: float(value[i]) for name, value in values.items()}
        network = make_network(work, [(w[i], b[i]) for w, b in start])
        beta, l2 = hyper.get("beta", 0.0), hyper.get("l2", 0.0)
        weights = [p for p in network.parameters() if p.ndim > 1]
        biases = [p for p in network.parameters() if p.ndim == 1]
        groups = [{"params": weights, "weight_decay": l2}, {"params": biases}]
        optimizer = torch.optim.SGD(groups, lr=hyper["alpha"], momentum=beta, dampening=beta)
        if beta:  # v starts at 0, not at the first gradient
            for p in network.parameters():
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
        step = make_step(work, network, optimizer, compiled=False)
        for _ in range(work.epochs):
            if work.batch == work.examples:
                step(x, y)
            else:
                run_epoch(work, step, x, y)
        return network

    def unit() -> None:
        networks[:] = [train_one(i) for i in range(count)]
        wait()

    def predict() -> np.ndarray:
        return np.stack([logits_of(work, network, data.test_x) for network in networks])

    note = f"timed on {count} networks one after another, scaled to {work.networks:,}" if count < work.networks else ""
    return Job(unit, lambda: None, predict, work.networks / count, note)


def make(name: str, work: Workload, data: Data) -> Job:
    """Return PyTorch's job for a workload."""
    if work.kind == "attention":
        return attention(work, DEVICE, wait)
    kinds = {
        "mlp": train,
        "cnn": train,
        "recurrent": train,
        "gpt": train,
        "predict": predict_only,
        "nets": many,
        "planar": many,
    }
    return kinds[work.kind](name, work, data)
