"""How values show themselves: short texts, and tables of HTML; also traced values, and what else depends on a repr."""

import html.parser
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.gradcheck import GradReport, LeafReport

NOTHING = lambda key: ()


def own_forward(params, x, key=None):
    return x, ()


def own_backward(params, residuals, dy):
    return (), dy


class Tags(html.parser.HTMLParser):
    """Check that tags are closed in order, and collect the rows of the table."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.rows, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def result() -> fnn.FitResult:
    x, y = jnp.ones((6, 2)), jnp.zeros(6, jnp.int32)
    options = {"epochs": 40, "batch_size": 6, "key": jax.random.key(0), "validation": (x, y), "progress": False}
    return fnn.fit(fnn.dense(2, 3), fnn.softmax_cross_entropy, fnn.adam(0.03), (x, y), **options)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (fnn.dense(3, 4), "dense(3, 4)"),
        (fnn.relu, "relu"),
        (fnn.mlp([784, 30, 10]), "serial(dense(784, 30), relu, dense(30, 10))"),
        (fnn.residual(fnn.dense(4, 4)), "residual(dense(4, 4), identity)"),
        (fnn.residual(fnn.relu, fnn.relu), "residual(relu, relu)"),
        (fnn.repeat(fnn.mlp([4, 4]), 3), "repeat(3 × serial(dense(4, 4)))"),
        (fnn.repeat(fnn.relu, 2), "repeat(2 × relu)"),
        (fnn.serial(fnn.relu, fnn.relu, fnn.relu, fnn.tanh), "serial(3 × relu, tanh)"),
        (fnn.autodiff(fnn.relu), "autodiff(relu)"),
        (fnn.remat(fnn.mlp([4, 4])), "remat(serial(dense(4, 4)))"),
        (
            fnn.mixed_precision(fnn.remat(fnn.repeat(fnn.relu, 3)), jnp.bfloat16),
            "mixed_precision(remat(repeat(3 × relu)), bfloat16)",
        ),
        (fnn.tied_embedding(9, 4, fnn.identity), "tied_embedding(9, 4, identity)"),
        (fnn.elementwise(jnp.sin, jnp.cos), "elementwise(sin)"),
        (fnn.Layer(NOTHING, own_forward, own_backward), "Layer(own_forward)"),
        (fnn.Layer(NOTHING, lambda params, x, key=None: (x, ()), own_backward), "Layer"),
        (fnn.serial(fnn.Layer(NOTHING, own_forward, own_backward), fnn.relu), "serial(Layer(own_forward), relu)"),
        (fnn.Layer(NOTHING, own_forward, own_backward, name="My block #2"), "My block #2"),
        (fnn.serial(fnn.relu)._replace(name="My block #2"), "My block #2(relu)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_layer_shows_its_architecture(layer, text):
    assert repr(layer) == str(layer) == text


def test_a_large_network_has_a_line_for_each_part():
    assert repr(fnn.gpt(65, length=32, layers=12, heads=2, d=16)) == (
        "tied_embedding(65, 16,\n"
        "  serial(\n"
        "    learned_positions(32, 16),\n"
        "    12 × serial(\n"
        "      residual(serial(layer_norm(16), attention(16, 2)), identity),\n"
        "      residual(\n"
        "        serial(layer_norm(16), dense(16, 64), gelu_tanh, dense(64, 16)),\n"
        "        identity\n"
        "      )\n"
        "    ),\n"
        "    layer_norm(16)\n"
        "  )\n"
        ")"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (fnn.softmax_cross_entropy, "softmax_cross_entropy"),
        (fnn.Loss(own_forward, own_backward), "Loss(own_forward)"),
        (fnn.sgd(0.5), "sgd(learning_rate=0.5)"),
        (fnn.adam(0.1), "adam(learning_rate=0.1, beta1=0.9, beta2=0.999, epsilon=1e-08)"),
        (fnn.sgd(optax.cosine_decay_schedule(0.1, 10)), "sgd(learning_rate=cosine_decay_schedule)"),
        (fnn.sgd(jnp.float32(0.5)), "sgd(learning_rate=0.5)"),
        (fnn.GradientTransformation(NOTHING, own_forward), "own_forward()"),
    ],
    ids=str,
)
def test_losses_and_optimizers_are_a_line(value, text):
    assert repr(value) == text


def test_results_are_a_line(result):
    history = {name: np.asarray(values)[-1] for name, values in result.history.items()}
    assert repr(result) == (
        f"FitResult(40 epochs, cost {history['cost']:.4f}, accuracy 1.0000, "
        f"validation cost {history['validation_cost']:.4f}, validation accuracy 1.0000, 9 parameters)"
    )
    assert repr(result.state) == "TrainState(step 40, 9 parameters)"


def test_runs_and_sweeps_are_a_line():
    data = jnp.ones((4, 2)), jnp.zeros((4, 1))
    run = fnn.make_run(fnn.dense(2, 1), fnn.squared_error, fnn.sgd, data, epochs=2, batch_size=4)
    one = run(0.1, jax.random.key(0))
    assert repr(one) == f"RunResult(2 reports, cost {float(one.history['cost'][-1]):.4f}, 3 parameters)"
    results = fnn.sweep(run, jnp.arange(1, 8) / 10, jax.random.split(jax.random.key(0), 3))
    line = "SweepResult(7 hyperparameters × 3 keys, 2 epochs of cost, 3 parameters each)"
    assert repr(results) == line
    table = Tags(results._repr_html_())
    assert line in table.text
    assert table.rows[0][:3] == ["hyper", "key", "value"]
    assert len(table.rows) == 1 + 10 + 1 + 5, "of 21 runs, the first ten and the last five"


def test_values_that_are_not_there_are_shown_by_their_shapes(result):
    seen = []

    @jax.jit
    def step(state):
        seen.append((repr(state), repr(fnn.RunResult(state.params, {"cost": jnp.ones(3) * state.params.b[0]}))))
        seen.append((repr(fnn.sgd(state.params.b[0])), repr(fnn.FitResult(state, {"cost": state.step}))))
        return state.step

    step(result.state)
    assert seen[0] == ("TrainState(step int32[], 9 parameters)", "RunResult(history (3,) of cost, 9 parameters)")
    assert seen[1] == ("sgd(learning_rate=…)", "FitResult(history () of cost, 9 parameters)")
    shapes = jax.eval_shape(lambda: result.state)
    assert repr(shapes) == "TrainState(step int32[], 9 parameters)"
    assert fnn.FitResult(shapes, {"cost": jax.ShapeDtypeStruct((3,), "float32")})._repr_html_() is None
    donated = jnp.ones(3) * 2
    donated.delete()
    assert repr(fnn.RunResult((), {"cost": donated})) == "RunResult(history (3,) of cost, 0 parameters)"


@pytest.mark.parametrize("kind", [fnn.Layer, fnn.Loss, fnn.GradientTransformation, fnn.TrainState, fnn.FitResult])
def test_what_tree_map_makes_of_them_has_a_repr(kind, result):
    n = len(kind._fields) if kind is not fnn.Layer else 3
    for filling in (None, 3, "text", (), object()):
        assert repr(kind(*[filling] * n))
    assert repr(jax.tree.map(lambda leaf: None, result))


def test_reprs_change_nothing_else(result):
    """The trees, their pickles and their fields are those of plain tuples."""
    again = pickle.loads(pickle.dumps(jax.device_get(result.state._replace(key=()))))
    assert type(again) is fnn.TrainState
    assert jax.tree.structure(again) == jax.tree.structure(result.state._replace(key=()))
    assert fnn.relu == fnn.relu._replace()
    assert {fnn.relu: 1}[fnn.relu._replace()] == 1
    assert tuple(fnn.FitResult(1, {})) == (1, {})


def test_a_fit_shows_its_history_in_notebooks(result):
    table = Tags(result._repr_html_())
    assert table.rows[0] == ["epoch", "cost", "accuracy", "validation cost", "validation accuracy"]
    assert [row[0] for row in table.rows[1:]] == [*map(str, range(1, 11)), "…", *map(str, range(36, 41))]
    assert table.rows[1][1] == f"{result.history['cost'][0]:.4f}"
    assert len(result._repr_html_()) < 6000


def test_a_summary_shows_a_table():
    found = fnn.summary(fnn.serial(fnn.dense(784, 30)._replace(name="<script>"), fnn.dense(30, 10)), (1, 784))
    assert repr(found) == str(found)
    assert "<script>" not in found._repr_html_()
    table = Tags(found._repr_html_())
    assert table.rows == [
        ["layer", "output shape", "parameters", "FLOPs"],
        ["<script>", "(1, 30)", "23,550", "47,070"],
        ["dense(30, 10)", "(1, 10)", "310", "610"],
        ["total", "", "23,860", "47,680"],
    ]


def test_a_table_leaves_out_rows_and_columns():
    columns = {f"c{i}": np.arange(100.0) + i for i in range(20)} | {"<b>": np.array(["a & b"] * 100)}
    table = fnn.Table(columns)
    assert repr(table).endswith("\n… 80 more rows")
    assert len(repr(table).splitlines()) == 22
    assert repr(table.head(3)) == str(table.head(3))
    shown = Tags(table._repr_html_())
    assert shown.rows[0] == [*(f"c{i}" for i in range(8)), "…", "c17", "c18", "c19", "<b>"]
    assert shown.rows[11] == ["…"] * 13
    assert shown.rows[-1][-2:] == ["118.0000", "a & b"]
    assert "100 rows" in shown.text
    assert len(table._repr_html_()) < 12_000
    assert repr(fnn.Table({})) == "Table()"
    assert Tags(fnn.Table({})._repr_html_()).rows == [[]]
    assert repr(jax.tree.map(lambda a: a.sum(), fnn.Table({"a": np.ones(3)}))) == "Table(a)"


def test_a_gradient_report_shows_a_table():
    wrong = LeafReport("['w<1>']", (2, 3), "float32", "FAIL", 0.5, 1e-5, hint="sign flipped", evidence=("got -1 & 2",))
    passing = [LeafReport(f"[{i}]", (2,), "float32", "PASS", 1e-9, 1e-5) for i in range(30)]
    report = GradReport(False, (*passing, wrong), {"reference": "FAIL"}, 7)
    assert repr(report) == report.summary()
    shown = Tags(report._repr_html_())
    assert "1 of 31 leaves wrong" in shown.text
    assert "Reproduce: check_vjp(..., key=jax.random.key(7))" in shown.text
    assert shown.rows[0] == ["leaf", "shape", "status", "max error", "tolerance", "worst index", "detects ≥", "hint"]
    statuses = [row[2] for row in shown.rows[1:] if len(row) == 8]
    assert statuses == ["PASS"] * 19 + ["FAIL"], "leaves that pass give way"
    assert shown.rows[-2:] == [["", "got -1 & 2"], ["… and 11 more leaves that pass"]]
