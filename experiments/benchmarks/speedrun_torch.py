"""The speedrun with PyTorch, eager: train a recipe and report every epoch.

    python -m experiments.benchmarks.speedrun_torch --network mlp --seed 0

Reports are lines of JSON.
"""

# pyright: reportMissingImports=false

import itertools
import sys

from experiments.benchmarks import speedrun_recipes
from experiments.benchmarks.speedrun_recipes import Loaded, Recipe, Report

if __name__ == "__main__":  # before PyTorch is imported: load the data in the meantime
    RECIPE, SEED = speedrun_recipes.arguments("experiments.benchmarks.speedrun_torch", sys.argv[1:])
    LOADING = speedrun_recipes.start_loading(RECIPE)

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def make_network(recipe: Recipe) -> nn.Sequential:
    """Return the network, with He's initialisation, zero biases and logits as outputs."""
    layers: list[nn.Module] = []
    for pair in itertools.pairwise((1, *recipe.filters)):
        layers += [nn.Conv2d(*pair, 5), nn.ReLU(), nn.MaxPool2d(2)]
    if recipe.filters:
        layers.append(nn.Flatten())
    for pair in itertools.pairwise((speedrun_recipes.dense_inputs(recipe), *recipe.sizes)):
        layers += [nn.Linear(*pair), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network


def images(recipe: Recipe, x: np.ndarray) -> torch.Tensor:
    """Return the images with a channel axis if there are convolutions."""
    return torch.from_numpy(x[:, None] if recipe.filters else x)


@torch.inference_mode()
def accuracy(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the accuracy."""
    answers = torch.cat([network(part).argmax(dim=1) for part in x.split(1000)])
    return float((answers == y).float().mean())


def train(
    recipe: Recipe, loaded: Loaded, seed: int, report: Report, start: nn.Sequential | None = None
) -> nn.Sequential:
    """Train the network `start`, or a new one, report after each epoch, and return the trained network."""
    torch.manual_seed(seed)
    network = make_network(recipe) if start is None else start
    optimizer = torch.optim.SGD(network.parameters(), lr=recipe.peak, momentum=recipe.beta, nesterov=True, fused=True)
    data = loaded()
    x, y = images(recipe, data.x), torch.from_numpy(data.y.astype(np.int64))
    test_x, test_y = images(recipe, data.test_x), torch.from_numpy(data.test_y.astype(np.int64))
    total, step = speedrun_recipes.total_steps(recipe, len(x)), 0
    for number in range(1, recipe.epochs + 1):
        for index in torch.randperm(len(x)).split(recipe.batch_size):
            optimizer.param_groups[0]["lr"] = speedrun_recipes.learning_rate(recipe, total, step)
            optimizer.zero_grad()
            F.cross_entropy(network(x[index]), y[index]).backward()
            optimizer.step()
            step += 1
        report(number, accuracy(network, test_x, test_y))
    return network


def main() -> None:
    """Train the recipe given by the flags."""
    speedrun_recipes.run(train, RECIPE, SEED, LOADING)


if __name__ == "__main__":
    main()
