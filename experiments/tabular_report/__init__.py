"""The report of a model that was trained on a table: report.html, scores.json and a table for the terminal."""

from experiments.tabular_report.contents import Candidate, Column, Contents, Part
from experiments.tabular_report.measured import Measured, measure
from experiments.tabular_report.page import FILES, scores_table, sentences, write

__all__ = [
    "FILES",
    "Candidate",
    "Column",
    "Contents",
    "Measured",
    "Part",
    "measure",
    "scores_table",
    "sentences",
    "write",
]
