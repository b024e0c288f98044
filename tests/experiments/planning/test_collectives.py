"""Collectives are read from the text of a compiled program, in every notation that XLA uses."""

import jax
import jax.numpy as jnp
import pytest

from experiments.planning.collectives import Collective, collectives, ring_factor, ring_steps, total_bytes
from experiments.planning.hlo import product_flops, repeated_flops


def module(body: str, before: str = "", header: str = "num_partitions=8") -> str:
    """Return an HLO module whose entry has these instructions after its parameter."""
    return f"""HloModule jit_step, is_scheduled=true, entry_computation_layout={{(f32[4]{{0}})->f32[4]{{0}}}}, {header}

%add (x: f32[], y: f32[]) -> f32[] {{
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %add.1 = f32[] add(%x, %y)
}}
{before}
ENTRY %main_spmd (param: f32[4]) -> f32[4] {{
  %param = f32[4]{{0}} parameter(0), metadata={{op_name="an all-reduce(of) %something = f32[7] all-reduce(%it)"}}
{body}
}}
"""


def only(text: str) -> Collective:
    (found,) = collectives(text)
    return found


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("{{0,1,2,3},{4,5,6,7}}", 4),
        ("{{0,4},{1,5},{2,6},{3,7}}", 2),
        ("{{0},{1}}", 1),
        ("{}", 8),
        ("[1,8]<=[8]", 8),
        ("[4,2]<=[2,4]T(1,0)", 2),
        ("mesh['axis_0'=4,'axis_1'=2] {'axis_0'}", 4),
        ("mesh['axis_0'=4,'axis_1'=2] {'axis_1','axis_0'}", 8),
        ("mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", 4),
        ("mesh['a'=2,'b'=4] {'b':(1)2}", 2),
        ("mesh['a'=2,'b'=4] {'b:(2)2','a'}", 4),
    ],
)
def test_the_size_of_a_group_in_each_notation(groups, size):
    text = module(f"  ROOT %r = f32[4]{{0}} all-reduce(%param), channel_id=1, replica_groups={groups}, to_apply=%add")
    assert only(text) == Collective("all-reduce", 16, 1, size)


def test_without_groups_all_devices_take_part():
    line = "  ROOT %r = f32[4]{0} all-reduce(%param), replica_groups={}, to_apply=%add"
    assert only(module(line, header="replica_count=3, num_partitions=2")).group_size == 6
    assert only(module(line, header="entry=1")).group_size == 1
    assert only(module(line.replace(" replica_groups={},", ""))).group_size == 8


def test_groups_of_an_unknown_form_are_refused():
    with pytest.raises(ValueError, match=r"replica_groups must have a known form, got 'ring"):
        collectives(module("  ROOT %r = f32[4]{0} all-reduce(%param), replica_groups=ring(8), to_apply=%add"))


@pytest.mark.parametrize(
    ("line", "kind", "size"),
    [
        ("f32[4]{0} all-reduce(%param), replica_groups=[1,8]<=[8], to_apply=%add", "all-reduce", 16),
        ("bf16[4,3]{1,0:T(8,128)(2,1)S(1)} all-reduce(%p), replica_groups=[1,8]<=[8]", "all-reduce", 24),
        ("(f32[64]{0}, bf16[3,5]{1,0}, f32[]) all-reduce(%a, %b, %c), replica_groups=[1,8]<=[8]", "all-reduce", 290),
        ("(f32[1], f32[1], f32[1], f32[1], f32[1], /*index=5*/f32[2]) all-reduce(%a)", "all-reduce", 28),
        ("f32[8,16]{1,0} all-gather(%p), replica_groups=[1,8]<=[8], dimensions={0}", "all-gather", 512),
        ("f32[2,16]{1,0} reduce-scatter(%p), replica_groups=[1,8]<=[8], dimensions={0}", "reduce-scatter", 1024),
        ("(f32[2]{0}, f32[2]{0}) all-to-all(%p, %q), replica_groups={{0,1},{2,3}}", "all-to-all", 16),
        ("s4[7]{0} all-to-all(%p), replica_groups=[1,8]<=[8], dimensions={0}", "all-to-all", 4),
        ("pred[9]{0} collective-broadcast(%p), replica_groups=[1,8]<=[8]", "collective-broadcast", 9),
        ("c64[9]{0} collective-permute(%p), source_target_pairs={{0,1},{1,0}}", "collective-permute", 72),
        ("f32[<=10,3]{1,0} ragged-all-to-all(%p), replica_groups=[1,8]<=[8]", "ragged-all-to-all", 120),
    ],
)
def test_the_bytes_of_each_kind_and_type(line, kind, size):
    found = only(module(f"  ROOT %r = {line}"))
    assert (found.kind, found.bytes, found.times) == (kind, size, 1)


@pytest.mark.parametrize(
    ("start", "kind", "size"),
    [
        ("f32[4]{0} all-reduce-start(%p), replica_groups=[1,8]<=[8]", "all-reduce", 16),
        ("(f32[4]{0}, f32[2]{0}) all-reduce-start(%p, %q), replica_groups=[1,8]<=[8]", "all-reduce", 24),
        ("(f32[4]{0}, f32[32]{0}) all-gather-start(%p), replica_groups=[1,8]<=[8]", "all-gather", 128),
        (
            "((f32[4,2]{1,0:T(8,128)}, f32[1]{0}), (f32[32,2]{1,0}, f32[8]{0})) all-gather-start(%p, %q), channel_id=1",
            "all-gather",
            288,
        ),
        ("((f32[32]{0}), f32[4]{0}, u32[]) reduce-scatter-start(%p), replica_groups=[1,8]<=[8]", "reduce-scatter", 128),
        (
            "(f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%p), source_target_pairs={{0,1}}",
            "collective-permute",
            16,
        ),
    ],
)
def test_a_start_and_its_done_count_once(start, kind, size):
    done = f"  ROOT %done = f32[4]{{0}} {kind}-done(%start), replica_groups=[1,8]<=[8]"
    found = only(module(f"  %start = {start}\n{done}"))
    assert (found.kind, found.bytes, found.times) == (kind, size, 1)


def test_an_asynchronous_computation_is_executed_once():
    wrapped = """
%wrapped (p.1: f32[8]) -> f32[1] {
  %p.1 = f32[8]{0} parameter(0)
  ROOT %scatter = f32[1]{0} reduce-scatter(%p.1), replica_groups=[1,8]<=[8], dimensions={0}, to_apply=%add
}
"""
    body = """  %start = ((f32[8]{0}), f32[1]{0}, u32[]) async-start(%param), calls=%wrapped
  %update = ((f32[8]{0}), f32[1]{0}, u32[]) async-update(%start), calls=%wrapped
  ROOT %done = f32[1]{0} async-done(%update), calls=%wrapped"""
    assert only(module(body, wrapped)) == Collective("reduce-scatter", 32, 1, 8)


LOOP = """
%inner (s: (s32[], f32[4])) -> (s32[], f32[4]) {
  %r.1 = f32[4]{0} all-reduce(%g), replica_groups=[1,8]<=[8], to_apply=%add
  ROOT %t = (s32[], f32[4]{0}) tuple(%i, %r.1)
}

%outer (s: (s32[], f32[4])) -> (s32[], f32[4]) {
  %gathered = f32[8]{0} all-gather(%h), replica_groups=[4,2]<=[8], dimensions={0}
  ROOT %w.1 = (s32[], f32[4]{0}) while(%t.2), condition=%less, body=%inner, backend_config={KNOWN}
}

%less (s: (s32[], f32[4])) -> pred[] {
  %m = s32[] all-reduce(%n), replica_groups=[1,8]<=[8], to_apply=%add
  ROOT %l = pred[] compare(%m, %k), direction=LT
}
"""


def test_operations_in_a_loop_count_once_per_iteration():
    trips = '"known_trip_count":{"n":"5"},"known_init_step":{"init":"0","step":"1"}'
    while_ = "  ROOT %w = (s32[], f32[4]{0}) while(%t), condition=%less, body=%outer, backend_config={KNOWN}"
    known = module(while_.replace("KNOWN", trips.replace("5", "3")), LOOP.replace("KNOWN", trips))
    assert set(collectives(known)) == {
        Collective("all-reduce", 4, 4 + 3 * 6, 8),
        Collective("all-gather", 32, 3, 2),
        Collective("all-reduce", 16, 15, 8),
    }
    unknown = module(while_.replace("KNOWN", ""), LOOP.replace("KNOWN", trips))
    assert set(collectives(unknown)) == {
        Collective("all-reduce", 4, 1 + 6, 8, unbounded=True),
        Collective("all-gather", 32, 1, 2, unbounded=True),
        Collective("all-reduce", 16, 5, 8, unbounded=True),
    }


def test_branches_fusions_and_calls_are_entered():
    before = """
%one (p.1: f32[4]) -> f32[4] {
  ROOT %r.1 = f32[4]{0} all-reduce(%p.1), replica_groups=[1,8]<=[8], to_apply=%add
}
"""
    body = """  %a = f32[4]{0} conditional(%param), branch_computations={%one, %one}
  %b = f32[4]{0} conditional(%param), true_computation=%one, false_computation=%add
  %c = f32[4]{0} call(%param), to_apply=%one
  ROOT %d = f32[4]{0} fusion(%c), kind=kCustom, calls=%one"""
    assert only(module(body, before)) == Collective("all-reduce", 16, 5, 8)


def test_computations_that_are_not_executed_do_not_count():
    before = "\n%dead (p.1: f32[4]) -> f32[4] {\n  ROOT %r = f32[4]{0} all-reduce(%p.1), replica_groups={}\n}\n"
    assert collectives(module("  ROOT %n = f32[4]{0} negate(%param)", before)) == ()


def test_names_in_the_metadata_do_not_count():
    before = "\n%one (p.1: f32[4]) -> f32[4] {\n  ROOT %r = f32[4]{0} all-reduce(%p.1), replica_groups={}\n}\n"
    body = """  ROOT %n = f32[4]{0} negate(%param), metadata={op_name="a} calls=%one" source_line=1}"""
    assert collectives(module(body, before)) == ()


def test_names_without_percent_signs():
    body = "ENTRY main {\n  p = f32[4]{0} parameter(0)\n  ROOT r = f32[4]{0} all-reduce(p)\n}"
    text = f"HloModule m, num_partitions=2\n\n{body}"
    assert only(text) == Collective("all-reduce", 16, 1, 2)


@pytest.mark.parametrize("text", ["", "module @jit_step attributes {mhlo.num_partitions = 8 : i32} {\n}"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="collectives: text must be that of a compiled program"):
        collectives(text)


def test_rings():
    reduced, gathered = Collective("all-reduce", 100, 2, 8), Collective("all-gather", 100, 1, 4)
    permuted, alone = Collective("collective-permute", 100, 1, 2), Collective("all-reduce", 100, 1, 1)
    assert [ring_factor(c) for c in (reduced, gathered, permuted, alone)] == [1.75, 0.75, 1.0, 0.0]
    assert [ring_steps(c) for c in (reduced, gathered, permuted, alone)] == [14, 3, 1, 0]
    assert ring_factor(Collective("collective-broadcast", 1, 1, 4)) == 1.0
    assert ring_factor(reduced) == pytest.approx(
        ring_factor(Collective("reduce-scatter", 1, 1, 8)) + ring_factor(Collective("all-gather", 1, 1, 8))
    )
    assert total_bytes([reduced, gathered, permuted, alone]) == 400
    assert total_bytes([reduced, gathered, alone], "all-reduce") == 200


def test_a_permutation_of_nothing_sends_nothing():
    line = "  ROOT %r = f32[4]{0} collective-permute(%param), source_target_pairs={{0,0},{1,1}}"
    assert only(module(line)).group_size == 1


def test_a_program_of_one_device_has_none():
    compiled = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y @ y, x)).lower(jnp.ones((4, 4))).compile()
    assert collectives(compiled.as_text()) == ()


def test_the_flops_of_products_in_loops():
    """2 · 5 · 4 for each entry of a (3, 2): once in the entry, six times in a loop inside another, 2 · 3 iterations."""
    inner = """
%inner (s: (s32[], f32[3,20])) -> (s32[], f32[3,20]) {
  %l = f32[3,5,4]{2,1,0} parameter(0)
  %r = f32[5,4,2]{2,1,0} parameter(1)
  ROOT %d = f32[3,2]{1,0} dot(%l, %r), lhs_contracting_dims={1,2}, rhs_contracting_dims={0,1}
}

%outer (s: (s32[], f32[4])) -> (s32[], f32[4]) {
  ROOT %w.1 = (s32[], f32[4]) while(%t.2), condition=%less, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
}
"""
    body = """  %a = f32[3,20]{1,0} parameter(1)
  %once = f32[3,2]{1,0} dot(f32[3,20]{1,0} %a, f32[20,2]{1,0} %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %w = (s32[], f32[4]{0}) while(%t), condition=%less, body=%outer, backend_config={"known_trip_count":{"n":"2"}}"""
    each = 2 * 20 * 6
    assert product_flops(module(body, inner)) == 7 * each
    assert repeated_flops(module(body, inner)) == 5 * each  # XLA's own analysis counts the loops once
