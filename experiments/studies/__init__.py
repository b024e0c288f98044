"""One file per study of the notes' claims, named by its subject; experiments/study.py says what each consists of."""

NAMES = (
    "linear_collapse",
)  # fmt: skip
