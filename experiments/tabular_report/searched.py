"""The parts of `Contents` that come from the report of a search, `fnn.search.Report`."""

from typing import Any

import numpy as np

from experiments.tabular_report.contents import Candidate, Part


def candidates(report: Any) -> tuple[Candidate, ...]:
    """Return the candidates of a search, in its order.

    The costs at all steps are shown if the rows of the report have a field `curve`.
    """
    return tuple(
        Candidate(
            name(row), float(row.cost), int(row.steps), float(row.share), row.width == 0, getattr(row, "curve", ())
        )
        for row in report.rows
    )


def name(row: Any) -> str:
    """Say what a candidate is.

    >>> from types import SimpleNamespace
    >>> name(SimpleNamespace(width=64, l2=0.003, dropout=0.25)), name(SimpleNamespace(width=0, l2=1e-4, dropout=0.0))
    ('64 hidden units, L2 0.003, dropout 0.25', 'linear, L2 0.0001')
    """
    units = f"{row.width} hidden units" if row.width else "linear"
    return f"{units}, L2 {row.l2:g}" + (f", dropout {row.dropout:g}" if row.dropout else "")


def out_of_fold(report: Any, y: np.ndarray) -> tuple[Part, np.ndarray]:
    """Return the predictions of a search for the rows that have some, and their folds.

    Args:
      report: the search's report.
      y: true values of all rows that were given to the search.
    """
    known = (np.asarray(report.folds) >= 0) & np.isfinite(report.out_of_fold).all(axis=1)
    linear = report.linear_out_of_fold[known]
    has_linear = bool(np.isfinite(linear).all())
    return Part(y[known], report.out_of_fold[known], linear if has_linear else None), np.asarray(report.folds)[known]
