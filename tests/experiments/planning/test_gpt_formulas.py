"""The plan of a GPT on paper equals what the library keeps, holds, computes and sends."""

import math

import jax
import jax.numpy as jnp
import pytest

import fnn
from experiments.planning import networks
from experiments.planning.activations import activations, kept_by_block
from experiments.planning.analysis import Program, compile_step
from experiments.planning.collectives import Collective, total_bytes
from experiments.planning.hlo import product_flops
from experiments.planning.networks import Gpt
from experiments.planning.paper import flops, on_paper, parameter_sizes
from experiments.planning.pipeline import pipeline
from tests.support.planned_bytes import GPT, GPTS, measure_all

BATCH = 2


def kept(layer: fnn.types.Layer, x: jax.ShapeDtypeStruct) -> int:
    """Bytes of the residuals of a layer; an array that is kept twice, or is a parameter, takes no memory of its own."""
    params = jax.eval_shape(layer.init, jax.random.key(0))
    program = jax.make_jaxpr(lambda params, x: layer.forward(params, x)[1])(params, x).jaxpr
    given = program.invars[: len(jax.tree.leaves(params))]
    found = {v: math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in program.outvars if v not in given}
    return sum(found.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("length", [96, 160])
def test_what_a_block_keeps(length, dtype):
    """Up to 127 positions attention keeps the probabilities, from 128 on one number a row."""
    gpt, layer = GPT._replace(length=length), lambda layer: layer
    if dtype == "bfloat16":
        layer = lambda layer: fnn.mixed_precision(layer, jnp.bfloat16)
    x = jax.ShapeDtypeStruct((BATCH, length, gpt.width), jnp.dtype(dtype))
    attention, others = kept_by_block(gpt, BATCH, dtype=dtype)
    assert kept(layer(fnn.attention(gpt.width, gpt.heads)), x) == attention
    assert kept(layer(fnn.transformer_block(gpt.width, gpt.heads)), x) == attention + others


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("remat", [True, False])
def test_what_a_network_keeps(repeat, remat):
    gpt = GPT._replace(repeat=repeat, remat=remat)
    found = activations(gpt, BATCH)
    ids, _ = networks.batch_shapes(gpt, BATCH)
    logits = 2 * 4 * BATCH * gpt.length * gpt.vocabulary  # e^Z of the loss, and dZ
    assert kept(networks.build(gpt), ids) == found.blocks + found.head - logits
    one_block = sum(kept_by_block(gpt, BATCH))
    assert (found.attention > 0, found.recomputed) == (not remat, one_block if remat else 0)
    assert found.peak == found.blocks + max(found.head, found.recomputed)


def test_devices_that_split_the_heads_keep_less():
    one, four = (kept_by_block(GPT, BATCH, model) for model in (1, 4))
    shared = 4 * BATCH * GPT.length * GPT.width  # X of the attention is the same on all of them
    assert four[0] == shared + (one[0] - shared) // 4
    norms = shared * 3 + 2 * 4 * BATCH * GPT.length
    assert four[1] == norms + (one[1] - norms) // 4


@pytest.mark.parametrize("repeat", [True, False])
def test_the_parameters_are_those_of_gpt(repeat):
    program = Program(GPT._replace(repeat=repeat), 8, 1, 16, "float32", "adam", False)
    made = jax.eval_shape(networks.build(program.network).init, jax.random.key(0))
    real = jax.eval_shape(fnn.gpt(96, 32, 2, 8, 64).init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(real))
    d = GPT.width
    assert count == 96 * d + 32 * d + 2 * (12 * d**2 + 13 * d) + 2 * d
    assert parameter_sizes(program).local == 4 * count == 4 * sum(leaf.size for leaf in jax.tree.leaves(made))
    if not repeat:
        assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, real)


def test_the_parameters_of_a_device():
    """Each pair of products is split; b_o, b_2, the norms, the positions and W are not."""
    program = Program(GPT, 1, 8, 16, "float32", "adam", False)
    d = GPT.width
    assert parameter_sizes(program).local == 4 * (98 * d + 32 * d + 2 * ((12 * d**2 + 7 * d) // 8 + 6 * d))
    rows = program._replace(network=GPT._replace(split_vocabulary=True))
    assert parameter_sizes(program).local - parameter_sizes(rows).local == 4 * 96 * d * 7 // 8
    uneven = parameter_sizes(program._replace(network=GPT._replace(width=24, heads=2), data=16, model=1))
    biases = 4 * (2 * 2 * 6 * 24 + 2 * 24)  # 24 is no multiple of 16, but 72 and 96 are multiples of 8 alone
    assert uneven.local - uneven.divisible >= biases


def test_the_products_of_a_step():
    """2 n (12 d² + 2 T d) for each block forward, twice as much backward; the head 2 n v d, thrice."""
    gpt = Gpt(40, 16, 1, 2, 8, repeat=False)
    compiled, _, _ = compile_step(Program(gpt, 1, 1, BATCH, "float32", "sgd", False))
    expected = BATCH * 16 * 3 * (2 * 12 * 8**2 + 4 * 16 * 8 + 2 * 40 * 8)
    assert product_flops(compiled.as_text()) == expected == flops(gpt, BATCH * 16)


def test_a_pipeline():
    """4 blocks in 2 stages, 4 micro-batches of 2 sequences: 5 slots, of which a stage waits in one."""
    gpt = Gpt(40, 16, layers=4, heads=2, width=8)
    program = Program(gpt, 4, 1, 16, "float32", "momentum", False)
    found = pipeline(program, gpt, stages=2, rate=1e6, micro_batches=4)
    assert (found.stages, found.data, found.micro_batches, found.bubble) == (2, 2, 4, 1 / 5)
    half = gpt._replace(layers=2)
    block = sum(kept_by_block(half, 2))
    assert found.gpipe == 4 * 2 * block + activations(half, 2).head
    assert found.one_f_one_b == max(2 * 2 * block, 2 * block + activations(half, 2).head)
    stage = 4 * (40 * 8 + 16 * 8 + 2 * (12 * 64 + 13 * 8) + 2 * 8)
    assert found.parameters == 3 * stage  # parameters, gradients, one moment
    assert found.sent == 2 * 4 * (2 * 16 * 8 * 4)
    slot = 3 * 2 * 16 * (2 * (2 * 12 * 64 + 4 * 16 * 8) + 2 * 40 * 8) / 1e6
    assert found.seconds == pytest.approx(5 * slot)
    split = program._replace(split_parameters=True)
    assert pipeline(split, gpt, 2, 1e6, 4).parameters == pytest.approx(found.parameters / 2, rel=0.01)


@pytest.mark.slow
def test_plans_are_what_8_devices_hold_and_send():
    """To the byte, but for what `python -m experiments plan gpt --help` says that XLA's compiler for CPUs adds."""
    measured = measure_all("gpt")
    assert set(measured) == set(GPTS)
    for name, found in measured.items():
        program, memory, held = GPTS[name], found.memory, found.held
        gpt: Gpt = program.network  # pyright: ignore[reportAssignmentType]
        paper = on_paper(program, gpt)
        counter = 4  # of steps
        assert held["parameters"] == [paper.parameters] * 8 == [memory.parameters] * 8, name
        assert held["optimizer"] == [paper.optimizer + counter] * 8 == [memory.optimizer] * 8, name
        assert held["batch"] == [paper.batch] * 8 == [memory.batch] * 8, name
        assert found.products == paper.flops, name

        of_heads = {"collective-permute"} if program.model > 1 else set()
        assert {c.kind for c in found.collectives} - of_heads <= {"all-reduce", "all-gather", "all-to-all"}, name
        over_model, over_data = (
            [[c for c in sent if c.group_size == size] for sent in (found.collectives, paper.collectives)]
            for size in (program.model, program.data)
        )
        if program.model > 1:
            assert total_bytes(over_model[0], "all-reduce") == total_bytes(over_model[1], "all-reduce") > 0, name
        if program.data == 1:
            continue
        sent, required = over_data
        twice = 4 * gpt.vocabulary * gpt.width // (program.model if gpt.split_vocabulary else 1)
        ids = rows = 0
        if gpt.vocabulary == 97:  # no multiple of the devices: they keep columns of the embedding
            twice, ids, rows = 0, 4 * program.batch_size * gpt.length, 4 * 64 * gpt.width
        scattered = total_bytes(required, "reduce-scatter")
        assert total_bytes(sent, "all-reduce") == total_bytes(required, "all-reduce") + scattered + twice, name
        assert total_bytes(sent, "all-gather") == total_bytes(required, "all-gather") + ids, name
        assert total_bytes(sent, "all-to-all") == rows, name


def test_what_is_required():
    """By hand: 108,288 parameters, all of which the data axis divides; 512 or 256 tokens of width 64 on a device."""
    required = lambda name: on_paper(GPTS[name], GPTS[name].network).collectives
    parameters = 433_152
    assert required("data") == (Collective("all-reduce", parameters + 4, 1, 8),)
    assert required("ZeRO-1") == (  # of one id more
        Collective("all-gather", parameters + 4 * 64, 1, 8),
        Collective("reduce-scatter", parameters + 4 * 64, 1, 8),
        Collective("all-reduce", 4, 1, 8),
    )
    unread = 4 * (32 * 64 + 64 + 2 * (3 * 64 + 64 + 4 * 64 + 64 + 2 * 64))  # positions, the last β; b and β of 2 blocks
    assert required("ZeRO-3")[:2] == (
        Collective("all-gather", parameters, 1, 8),
        Collective("all-gather", parameters - unread, 1, 8),
    )
    assert required("model") == (Collective("all-reduce", 4 * 512 * 64, 8, 8),)
    assert required("model, remat") == (Collective("all-reduce", 4 * 512 * 64, 10, 8),)
    vocabulary = required("model, vocabulary, ZeRO-1")
    assert vocabulary[:3] == (
        Collective("all-reduce", 4 * 256 * 64, 8, 4),
        Collective("all-reduce", 4 * 256 * 64, 2, 4),
        Collective("all-reduce", 4 * 256, 3, 4),
    )
