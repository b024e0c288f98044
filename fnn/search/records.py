"""The records of a search: its candidates, its result, and what it reports."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fnn.display import lines


class Candidate(NamedTuple):
    """One set of hyperparameters that a search tries.

    Attributes:
      width: number of hidden units. 0 is a linear model.
      l2: λ in the penalty λ/2 ‖W‖².
      dropout: the probability that a hidden unit is zeroed in a step of training.
    """

    width: int
    l2: float
    dropout: float = 0.0


class Row(NamedTuple):
    """What a search found for one candidate.

    Attributes:
      width: number of hidden units. 0 is a linear model.
      l2: λ in the penalty λ/2 ‖W‖².
      dropout: the probability that a hidden unit is zeroed in a step of training.
      steps: the number of steps after which the cost on the held-out rows was least.
      cost: that cost: log-loss, or half the squared error of standardised quantities.
      share: the candidate's share in the ensemble, from 0 to 1.
      curve: steps and the cost after them, wherever the cost was measured; infinite after the training diverged.
    """

    width: int
    l2: float
    dropout: float
    steps: int
    cost: float
    share: float
    curve: tuple[tuple[int, float], ...] = ()


class Members(NamedTuple):
    """The parameters of M networks z = A x + W_3 silu(W_1 x + b_1) + c, stacked in their first axis.

    Units beyond a network's own width are 0 and have no effect.

    Attributes:
      w_skip: A, one matrix for each member.
      w_in: W_1.
      b_in: b_1.
      w_out: W_3.
      b_out: c.
    """

    w_skip: Float[np.ndarray, "M d k"]
    w_in: Float[np.ndarray, "M d h"]
    b_in: Float[np.ndarray, "M h"]
    w_out: Float[np.ndarray, "M h k"]
    b_out: Float[np.ndarray, "M k"]


class Ensemble(NamedTuple):
    """A weighted mean of networks, with the standardisation of their inputs and outputs.

    `fnn.search.predict` computes its predictions; `to_files` and `from_files` store it.

    Attributes:
      output: what follows the networks: "softmax" for classes, "sigmoid" for labels, "identity" for quantities.
      center: subtracted from each input, in float64.
      scale: divides each input after that.
      reach: limits each input after that, to -reach..reach.
      target_center: added to each quantity after the networks; 0 for classes and labels.
      target_scale: multiplies each quantity before that; 1 for classes and labels.
      members: the networks.
      shares: the weights of the mean; their sum is 1.
    """

    output: str
    center: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    reach: Float[np.ndarray, " d"]
    target_center: Float[np.ndarray, " k"]
    target_scale: Float[np.ndarray, " k"]
    members: Members
    shares: Float[np.ndarray, " M"]

    def __repr__(self) -> str:
        members = lines.count(np.size(self.shares), "network")
        return f"Ensemble({members}, {lines.count(np.size(self.center), 'input')}, {self.output})"


class Report(NamedTuple):
    """What a search did, and predictions from which honest scores can be computed.

    Attributes:
      rows: one `Row` for each candidate, in the order of the candidates.
      folds: the fold of each row of x. It is -1 for a row without out-of-fold predictions: one of weight 0, or, where
        a large table is split once, one of the training part.
      out_of_fold: predictions of the ensemble, in the form of `predict`, for each row by networks that were not
        trained on the row's fold, and with steps and shares that were chosen without it. NaN where the fold is -1.
      linear_out_of_fold: those of the best linear candidate, chosen likewise. All NaN if no candidate is linear.
      seconds: the duration of the search.
      why: one sentence that says what was searched and what was chosen.
    """

    rows: tuple[Row, ...]
    folds: Int[np.ndarray, " n"]
    out_of_fold: Float[np.ndarray, "n k"]
    linear_out_of_fold: Float[np.ndarray, "n k"]
    seconds: float
    why: str

    def __repr__(self) -> str:
        return f"Report({lines.count(np.size(self.folds), 'row')}. {self.why})"

    def _repr_html_(self) -> str:
        """Show a table of the candidates, the largest share first, in notebooks."""
        from fnn.display import html

        rows = sorted(self.rows, key=lambda row: (-row.share, row.cost))
        names = ("width", "l2", "dropout", "steps", "cost", "share")
        table = html.table({name: np.array([getattr(row, name) for row in rows]) for name in names})
        return f"<p>{html.escape(repr(self))}</p>{table}"


class Found(NamedTuple):
    """The result of a search: the model, and the report on how it was chosen."""

    ensemble: Ensemble
    report: Report


class Task(NamedTuple):
    """A checked and standardised table: the rows that have weight.

    Attributes:
      output: as in `Ensemble`.
      x: standardised inputs.
      y: int32 classes (n,), float32 labels (n, k), or standardised quantities (n, k).
      weight: weights of mean 1.
      k: number of outputs of a network.
      loss: the `Loss` that networks are trained with.
      delta: δ of the Huber loss, for quantities with outliers; otherwise None.
    """

    output: str
    x: Float[np.ndarray, "n d"]
    y: Any
    weight: Float[np.ndarray, " n"]
    k: int
    loss: Any
    delta: float | None = None
