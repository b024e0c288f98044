"""The baseline of known findings, the table and the page."""

import pytest

from experiments.audit import baseline, page, records, table
from experiments.audit.baseline import Entry

FIELDS = {
    "target": "jax.numpy.ldexp",
    "argument": "[0]",
    "kind": "wrong derivative",
    "status": "wrong",
    "why": "1 <at> 0",
    "report": "https://github.com/jax-ml/jax/issues/37992",
}


def finding(**changes):
    return {
        "argument": "[0]",
        "kind": "wrong derivative",
        "point": "zeros in [0]",
        "got": "nan",
        "expected": ["-1.0", "1.0"],
        "by": "differences",
        "output": 0,
        "entry": 0,
        "checker": True,
        "number": 1,
        "x": ["0.0"],
        "code": "print(a < b)",
        "shown": "1.0",
        "reproduced": True,
    } | changes


def record(name="jax.numpy.ldexp", findings=(), checker="wrong"):
    key = {"jax": "0.10.2", "jaxlib": "0.10.2", "mpmath": "", "target": "ab", "audit": "cd"}
    return {
        "name": name, "key": key, "state": records.DONE, "library": "jax", "version": "0.10.2", "checker": checker,
        "points": 9, "others": {"unresolved": 2}, "notes": ["a note"], "seconds": 0.5, "cpu": 0.4,
        "findings": list(findings),
    }  # fmt: skip


def test_entries_match_findings_and_the_longest_point_wins():
    general, special = Entry(**FIELDS), Entry(**FIELDS | {"status": "convention"}, point="zeros")
    known = (general, special)
    assert baseline.match(known, "jax.numpy.ldexp", finding()) is special
    assert baseline.match(known, "jax.numpy.ldexp", finding(point="ones in [0]")) is general
    assert baseline.match(known, "jax.numpy.ldexp(n)", finding()) is None
    assert baseline.match(known, "jax.numpy.ldexp", finding(argument="[1]")) is None
    assert baseline.match(known, "jax.numpy.ldexp", finding(kind="not finite")) is None


def test_entries_that_no_longer_occur_are_listed_if_their_target_was_audited():
    known = (Entry(**FIELDS), Entry(**FIELDS | {"target": "jax.nn.relu"}), Entry(**FIELDS | {"target": "optax.sgd"}))
    done = [record(findings=[finding()]), record("jax.nn.relu")]
    rows = table.rows(done, known)
    assert [row.status for row in rows] == ["wrong"]
    assert baseline.gone(known, rows, done) == [known[1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"status": "bad"},
            "finding 1 (jax.numpy.ldexp): status must be one of wrong, convention, accuracy, got 'bad'",
        ),
        ({"wy": "?"}, "finding 1 (jax.numpy.ldexp) must have the fields argument, kind, report, status, target, why"),
    ],
)
def test_wrong_entries_are_named(tmp_path, change, message):
    path = tmp_path / "baseline.toml"
    lines = [f'{name} = "{value}"' for name, value in (FIELDS | change).items()]
    path.write_text("\n".join(["[[finding]]", *lines]))
    with pytest.raises(ValueError) as error:
        baseline.read(path)
    assert message in str(error.value)


def test_the_committed_baseline_is_valid_and_has_no_entry_twice():
    known = baseline.read()
    places = [(entry.target, entry.argument, entry.kind, entry.point) for entry in known]
    assert len(places) == len(set(places))
    assert all(entry.report.startswith(("none known", "https://")) for entry in known)
    assert all(entry.why and entry.versions for entry in known)


def test_the_page_shows_every_finding_and_escapes_what_it_shows(tmp_path):
    known = (Entry(**FIELDS), Entry(**FIELDS | {"target": "jax.nn.relu"}, versions=("jax 0.10.2",)))
    done = [
        record(findings=[finding(), finding(point="ones in <b>")]),
        record("jax.nn.relu"),
        record("jax.numpy.odd<", [finding(kind="not finite", expected=["0.25"], checker=False)]),
        record("jax.numpy.broken", checker="not checked: ValueError: <why>"),
    ]
    rows = table.rows(done, known)
    gone = baseline.gone(known, rows, done)
    summary = table.Summary(5, {r["name"]: r for r in done}, table.groups(rows), {"tfp": "not installed"}, gone)
    page.write(tmp_path / "index.html", summary)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    for part in ("1 &lt;at&gt; 0", "print(a &lt; b)", "jax.numpy.odd&lt;", "-1 or 1", "ones in &lt;b&gt;", "0.25"):
        assert part in html
    for part in ("jax-ml/jax/issues/37992", "Known, and no longer found", "tfp", "&lt;why&gt;", "of 5 calls audited"):
        assert part in html
    assert "<b>1</b>" in html
    assert "<at>" not in html
    assert "$" not in html
    lines = summary.text().splitlines()
    assert lines[0] == "4 calls audited in 2 s of work: jax 0.10.2, jaxlib 0.10.2"
    assert "new: 1 finding in 1 call" in lines
    assert "wrong: 1 finding in 1 call" in lines
    assert "no longer found: jax.nn.relu by [0]: wrong derivative (1 <at> 0)" in lines
    assert "not audited: jax.numpy.broken: not checked: ValueError: <why>" in lines


def test_new_findings_come_first_in_the_table(tmp_path):
    known = (Entry(**FIELDS),)
    done = [record(findings=[finding()]), record("jax.numpy.odd", [finding()])]
    table.write(tmp_path / "findings.csv", table.rows(done, known))
    lines = (tmp_path / "findings.csv").read_text().splitlines()
    assert "jax.numpy.odd" in lines[1]
    assert ",new," in lines[1]
    assert "jax.numpy.ldexp" in lines[2]
    assert ",wrong,1 <at> 0,https://" in lines[2]
