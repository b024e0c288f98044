"""How values of fnn show themselves: one line of text, tables of HTML, figures.

| module | shows |
|---|---|
| `architecture` | a layer, with the layers it is made of |
| `lines` | losses, optimizers and results, in a line each |
| `html` | tables in notebooks |
| `figures` | what all figures share: new axes, colours, logarithmic axes |
| `curves`, `response` | learning curves; the scores of a sweep over its hyperparameters (public in `fnn.plot`) |
"""
