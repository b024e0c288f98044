"""The report of a model that was trained on a table: report.html, scores.json and a table for the terminal."""

from experiments.tabular_report.contents import Candidate, Column, Contents, Part
from experiments.tabular_report.page import scores_table, write

__all__ = ["Candidate", "Column", "Contents", "Part", "scores_table", "write"]
