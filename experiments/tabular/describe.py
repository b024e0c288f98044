"""What a trained model is reported as: predictions, what matters to it, what was searched."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float64

import fnn.search
from experiments.tabular.fitting import Fitted
from experiments.tabular.model import Model, features, inputs, predict
from experiments.tabular.prepare import Prepared, override
from experiments.tabular.transform import outputs_of
from experiments.tabular_report import Candidate, Column, Contents, Part
from experiments.tabular_report.suspicions import measurable

_PRODUCTS, _ROWS, _REPEATS = 3e9, 1000, 3  # products of numbers, rows and repeats of all permutations


def contents(prepared: Prepared, fitted: Fitted, facts: Mapping[str, Any], **others: Any) -> Contents:
    """Return what the report says about a model that was trained on this table."""
    model, report, target = fitted.model, fitted.report, prepared.target
    y = prepared.y if target.classes else prepared.y[:, None]
    out_of_fold = folds = test = None
    if report is not None:
        inside = report.folds >= 0
        linear = report.linear_out_of_fold[inside]
        rows = fitted.train[inside]
        out_of_fold = Part(y[rows], report.out_of_fold[inside], linear if np.isfinite(linear).all() else None)
        folds = report.folds[inside]
    if len(fitted.test):
        test = Part(y[fitted.test], predict(model, inputs(model, prepared.frame.iloc[fitted.test], "the test part")))
    importances, of_rows = permuted(model, prepared, fitted)
    score = "accuracy" if target.classes else "R²"
    history = {} if fitted.result is None else fitted.result.history
    return Contents(
        title=f"{target.name} from {facts['file']}",
        model=_sentence(fitted),
        kind="classes" if target.classes else "quantities",
        targets=[target.name],
        classes=target.classes,
        out_of_fold=out_of_fold,
        folds=folds,
        test=test,
        train_y=y[fitted.train],
        columns=[Column(target.name, "target", target.why, 0, "--task"), *map(_described, prepared.columns)],
        warnings=prepared.warnings,
        facts=facts,
        features=[column.name for column in features(model.columns)],
        importances=importances,
        importance_of=f"{score} on {of_rows}" if importances is not None else "",
        candidates=() if report is None else [_candidate(row) for row in report.rows],
        why="" if report is None else report.why,
        history=history or None,
        kept=int(np.argmin(history["validation_cost"])) + 1 if history else None,
        **others,
    )


def _described(column: Any) -> Column:
    return Column(column.name, column.kind, column.why, column.missing, override(column))


def _candidate(row: fnn.search.Row) -> Candidate:
    parts = [f"{row.width} hidden units" if row.width else "linear", f"L2 {row.l2:g}"]
    parts += [f"dropout {row.dropout:g}"] if row.dropout else []
    return Candidate(", ".join(parts), row.cost, row.steps, row.share, row.width == 0, row.curve)


def _sentence(fitted: Fitted) -> str:
    """Say in a sentence what the model is."""
    if fitted.report is None:
        assert fitted.model.network is not None
        sizes = fitted.model.network[0].hidden
        return f"One network with hidden layers of {', '.join(map(str, sizes))} units." if sizes else "A linear model."
    shares = sorted((-row.share, _candidate(row).name) for row in fitted.report.rows if row.share > 0)
    return (
        "The mean of networks that a search chose: "
        + "; ".join(f"{name} ({-share:.0%})" for share, name in shares[:6])
        + "."
    )


def permuted(
    model: Model, prepared: Prepared, fitted: Fitted
) -> tuple[Float64[np.ndarray, "features repeats"] | None, str]:
    """Return how much the score decreases if a feature's values are permuted, and of which rows it is the score.

    The rows are those of the test part, or, if there is none, of the training part; some of them, if there are many
    features, and none at all if there are very many.
    """
    tested = len(fitted.test) > 0
    rng = np.random.default_rng(0)
    groups = outputs_of(model.transformer, features(model.columns))
    most = int(_PRODUCTS / (_weights(model) * len(groups)))
    repeats = _REPEATS if most >= 200 * _REPEATS else 1
    rows = rng.permutation(fitted.test if tested else fitted.train)
    count = min(len(rows), _ROWS, most // repeats)
    if count < min(100, len(rows)):
        return None, ""
    x, y = inputs(model, prepared.frame.iloc[rows[:count]], "the table"), prepared.y[rows[:count]]
    whole = _score(model, x, y)
    found = np.zeros((len(groups), repeats))
    for i, group in enumerate(groups):
        for repeat in range(repeats):
            changed = x.copy()
            changed[:, group] = x[rng.permutation(count)][:, group]
            found[i, repeat] = whole - _score(model, changed, y)
    return found, f"{count:,} rows of the {'test' if tested else 'training'} part"


def _weights(model: Model) -> int:
    """Return the number of weights of all networks, which is that of the products for a prediction."""
    networks = model.ensemble.members if model.ensemble is not None else model.network
    leaves = [leaf for leaf in jax.tree.leaves(networks) if hasattr(leaf, "shape")]
    return sum(int(np.count_nonzero(leaf)) for leaf in leaves)


def _score(model: Model, x: np.ndarray, y: np.ndarray) -> float:
    """Return accuracy or R²."""
    predicted = predict(model, x)
    if model.target.classes:
        return float(np.mean(predicted.argmax(axis=1) == y))
    return 1.0 - float(np.mean((predicted[:, 0] - y) ** 2)) / (float(np.var(y)) or 1.0)


def best_features(report: Contents, count: int = 5) -> Sequence[str]:
    """Return the names of the features that matter most, with the decrease of the score; measurable ones alone."""
    if report.importances is None:
        return ()
    mean, some = report.importances.mean(axis=1), measurable(report.importances)
    order = np.argsort(-mean)[:count]
    return [f"{report.features[i]} ({mean[i]:.3f})" for i in order if some[i] and mean[i] >= 5e-4]
