"""The table of the command `accelerator`, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.benchmarks.accelerator_works import tokens
from experiments.benchmarks.bench_reports import duration, three_digits
from experiments.benchmarks.goals import Verdict
from experiments.benchmarks.peers import PEERS, RATES
from experiments.benchmarks.timings import Row, Rows, disagreement, gflops, summary
from experiments.benchmarks.workloads import Workload

CAPTION = """\
Seconds of a unit: medians of interleaved rounds, each peer in its own process, in brackets the time over fnn's. A unit
is an epoch unless the work says otherwise, and ends when the device has finished. Products of float32 are computed in
full by all peers (JAX: precision "highest"; PyTorch: without TF32). Works in bfloat16 keep their parameters in float32
(PyTorch: autocast). A cell is empty where a peer does not do this work or was skipped."""


def describe(device: Mapping[str, Any], driver: str | None, versions: Mapping[str, str], date: str) -> str:
    """Return one line: device, driver, versions, date."""
    named = {name: version for name, version in versions.items() if name not in ("device", "cpus")}
    parts = [f"{device['kind']} ({device['platform']}, {device['count']} of them)", f"driver {driver or 'none'}"]
    return ", ".join([*parts, *(f"{name} {version}" for name, version in named.items()), date])


def cell(row: Row | None, rows: Rows) -> str:
    """Return the median of a peer and its ratio to fnn's, or why there is none."""
    if row is None or row.skipped:
        return ""
    numbers = summary(row, rows.get("fnn"))
    if numbers is None:
        return "failed" if row.failed else ""
    ratio = "" if row.peer == "fnn" or numbers.ratio is None else f" ({three_digits(numbers.ratio)}x)"
    return f"{duration(numbers.median)}{ratio}"


def markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; the first holds the names of the columns.

    >>> markdown([["a", "b"], ["1", "2"]])
    ['| a | b |', '|---|---|', '| 1 | 2 |']
    """
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return [head, "|" + "---|" * len(lines[0]), *body]


def times(works: Mapping[str, Workload], results: Mapping[str, Rows]) -> list[str]:
    """Return the table of times: a line per work, a column per peer that ran."""
    shown = {name: rows for name, rows in results.items() if any(row.seconds or row.failed for row in rows.values())}
    names = [
        name
        for name in PEERS
        if name not in RATES and any(rows[name].seconds or rows[name].failed for rows in shown.values() if name in rows)
    ]
    table = [["work", *(PEERS[name].label for name in names)]]
    for work, rows in shown.items():
        table.append([f"{work}: {works[work].title}", *(cell(rows.get(name), rows) for name in names)])
    return markdown(table) if shown else []


def rates(work: Workload, rows: Rows) -> list[str]:
    """Return what is known of a work besides its times: rates, peak memory, and what failed, differs or is skipped."""
    lines, labels = [], {name: PEERS[name].label for name in rows}
    fast = {name: rate for name, row in rows.items() if (rate := gflops(work, row)) and rate > 1e3}
    if fast:
        listed = "; ".join(f"{labels[name]} {three_digits(rate / 1e3)}" for name, rate in fast.items())
        lines.append(f"TFLOP/s: {listed}")
    if (count := tokens(work)) is not None:
        found = {name: numbers for name, row in rows.items() if (numbers := summary(row, None))}
        listed = "; ".join(f"{labels[name]} {count / numbers.median:,.0f}" for name, numbers in found.items())
        lines.append(f"tokens/s: {listed}")
    peaks = {name: row.peak for name, row in rows.items() if row.peak}
    if peaks:
        listed = "; ".join(f"{labels[name]} {three_digits(peak / 2**20)}" for name, peak in peaks.items())
        lines.append(f"peak MiB on the device: {listed}")
    for name, row in rows.items():
        if row.note:
            lines.append(f"{labels[name]}: {row.note}")
        if row.failed:
            lines.append(f"failed: {row.failed}")
        if "fnn" in rows and (problem := disagreement(work, row, rows["fnn"])):
            lines.append(f"NOT EQUAL: {labels[name]}: {problem}")
    skipped: dict[str, list[str]] = {}
    for name, row in rows.items():
        if row.skipped and row.skipped != "not implemented for this workload":
            skipped.setdefault(row.skipped, []).append(labels[name])
    return lines + [f"skipped, {reason}: {'; '.join(of)}" for reason, of in skipped.items()]


def goals(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the table of goals."""
    words = {None: "not measured", True: "met", False: "missed"}
    table = [["work", "goal", "measured", "verdict"]]
    for verdict in verdicts:
        value = "" if verdict.value is None else f"{verdict.value:.3g} {verdict.unit}".strip()
        table.append([verdict.work, verdict.text, value, words[verdict.met]])
    return markdown(table)
