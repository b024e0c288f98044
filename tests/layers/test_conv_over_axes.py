"""Grouped convolutions over meshes of two axes, where XLA's partitioner needs another form of dW."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.support.children import environment
from tests.support.convolutions import CASES, Case

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("Explicit", ("groups",)),
        ("Auto", ("groups stride", "wide")),
        pytest.param("Explicit", ("plain", "groups stride", "depthwise multiplier", "wide"), marks=pytest.mark.slow),
        pytest.param("Auto", ("plain", "groups", "depthwise", "depthwise stride"), marks=pytest.mark.slow),
    ],
)
def test_gradients_on_2x2_devices(kind, names):
    """They are those of one device, for arrays over Auto axes in the form for accelerators."""
    command = [sys.executable, "-W", "error", "-m", "tests.support.over_two_axes", kind, *names]
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    errors = json.loads(done.stdout)
    assert list(errors) == list(names)
    assert max(errors.values()) < 1e-12, errors


def lowered(case, sizes, kind=AxisType.Auto, *, manual=False):
    """Return the text of the backward for a GPU, of examples over the first axis of a mesh of these sizes."""
    layer, mesh = case.layer(), AbstractMesh(sizes, ("data", "model")[: len(sizes)], axis_types=(kind,) * len(sizes))
    params, x = jax.eval_shape(layer.init, jax.random.key(0)), jax.ShapeDtypeStruct(case.shape, "float32")
    dz = jax.eval_shape(lambda p, x: layer.forward(p, x)[0], params, x)
    rows = NamedSharding(mesh, P("data"))

    def backward(params, x, dz):
        return layer.backward(params, x, dz)

    if manual:
        backward = jax.shard_map(backward, mesh=mesh, in_specs=(P(), P(), P()), out_specs=P(), check_vma=False)
    x, dz = (a if manual else a.update(sharding=rows) for a in (x, dz))
    return jax.jit(backward).trace(params, x, dz).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize(
    ("sizes", "options", "count"),
    [
        ((2,), {}, 2),
        ((2, 1), {}, 2),
        ((2, 2), {}, 1),
        ((1, 2), {}, 2),
        ((2, 2), {"kind": AxisType.Explicit}, 1),
        ((2, 2), {"manual": True}, 2),
    ],
)
def test_only_a_mesh_of_two_axes_changes_the_form(sizes, options, count):
    """Convolutions of a GPU's program with a count of groups other than 1: dX's, and dW's unless the mesh has axes.

    In `jax.shard_map`, XLA partitions nothing.
    """
    text = lowered(CASES["groups"]._replace(shape=(4, 6, 5, 4)), sizes, **options)
    assert text.count("batch_group_count = 2") == count - 1
    assert text.count("feature_group_count = 2") == 1


def test_the_number_of_convolutions_is_bounded():
    """512 groups of one channel are eight convolutions of 64 channels each."""
    text = lowered(Case((4, 3, 3, 512), (3, 3), padding="SAME", filters=512, groups=512), (2, 2))
    assert text.count("stablehlo.convolution") == 1 + 512 // 64
