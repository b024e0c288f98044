"""Parts of the page about the data and the model: columns, warnings, facts, how to predict, versions."""

import html
from collections.abc import Mapping
from typing import Any

from experiments.tabular_report.contents import Contents
from experiments.tabular_report.figure_parts import section
from experiments.tabular_report.text import cell, clean, number, table
from experiments.wording import counted

MOST_COLUMNS = 40


def warnings(contents: Contents) -> str:
    """Return what was noticed about the data."""
    if not contents.warnings:
        return ""
    items = "".join(f"<li><bdi>{html.escape(clean(one))}</bdi></li>" for one in contents.warnings)
    return section("warnings", "Warnings about the data", f"<ul class='warnings'>{items}</ul>")


def columns(contents: Contents) -> str:
    """Return the decisions about the columns and the facts about the data."""
    parts = _facts(contents.facts)
    if contents.columns:
        head = ("column", "used as", "why", "missing", "to change it")
        rows = [
            (
                cell(one.name),
                html.escape(clean(one.use)),
                f"<bdi>{html.escape(clean(one.why))}</bdi>" if one.why else "",
                f"{one.missing:,}" if one.missing else "",
                f"<code>{html.escape(clean(one.override))}</code>" if one.override else "",
            )
            for one in contents.columns
        ]
        parts += table(head, rows[:MOST_COLUMNS], "columns blocks", right=(3,))
        if len(rows) > MOST_COLUMNS:
            more = table(head, rows[MOST_COLUMNS:], "columns blocks", right=(3,))
            parts += f"<details><summary>{counted(len(rows) - MOST_COLUMNS, 'more column')}</summary>{more}</details>"
    return section("data", "The data", parts)


def _facts(facts: Mapping[str, Any]) -> str:
    """Return facts as a list of names and values."""
    items = "".join(
        f"<div><dt>{html.escape(clean(name))}</dt><dd><bdi>{html.escape(_value(value))}</bdi></dd></div>"
        for name, value in facts.items()
    )
    return f"<dl class='facts'>{items}</dl>" if items else ""


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return number(value) if isinstance(value, float) else clean(value)


def use(contents: Contents) -> str:
    """Return how to predict, how the model was made, and the versions."""
    parts = ""
    if contents.command:
        parts += f"<p>Predict with this model:</p><pre><code>{html.escape(clean(contents.command))}</code></pre>"
    if contents.made_by:
        parts += f"<p>It was made by:</p><pre><code>{html.escape(clean(contents.made_by))}</code></pre>"
    seconds = {f"{name.replace('_', ' ')}": f"{number(float(value), 2)} s" for name, value in contents.seconds.items()}
    parts += _facts({**seconds, **contents.versions})
    return section("use", "How to use it", parts)
