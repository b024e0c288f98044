"""Figures for notebooks and scripts, drawn with matplotlib (`pip install 'fnn[plot]'`), which is imported when used.

| function | draws |
|---|---|
| `learning_curves` | cost and metrics of a training over the epochs |
| `confusion` | which classes are taken for which |
| `response` | the score of a sweep over one or two hyperparameters |
| `gradients` | the size of gradients and parameters, layer by layer |
| `diagram` | a network: boxes with the shapes between them |

Each function draws on the Axes `ax`, or on those of a new figure of pyplot, and returns the Axes. A notebook shows the
new figure by itself; a script calls `plt.show()` or `ax.figure.savefig(path)`. No setting of matplotlib is changed.
`FitResult.plot` and `SweepResult.plot` draw results.
"""

from fnn.display.curves import learning_curves as learning_curves
from fnn.display.response import response as response
from fnn.plot.confusion import confusion as confusion
from fnn.plot.diagram import diagram as diagram
from fnn.plot.gradients import gradients as gradients

__all__ = ["confusion", "diagram", "gradients", "learning_curves", "response"]
