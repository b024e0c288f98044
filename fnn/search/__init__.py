"""A search on a small table: many networks trained as one program, and the best of them combined.

>>> import numpy as np
>>> import fnn.search
>>> rng = np.random.default_rng(0)
>>> x = rng.normal(size=(80, 3))
>>> y = x[:, :1] * 2 + 1
>>> found = fnn.search.quantities(x, y, candidates=fnn.search.linear_candidates())
>>> bool(np.abs(fnn.search.predict(found.ensemble, x) - y).max() < 0.1)
True
"""

from fnn.search.candidates import linear_candidates as linear_candidates
from fnn.search.candidates import network_candidates as network_candidates
from fnn.search.ensemble import from_files as from_files
from fnn.search.ensemble import predict as predict
from fnn.search.ensemble import to_files as to_files
from fnn.search.records import Candidate as Candidate
from fnn.search.records import Ensemble as Ensemble
from fnn.search.records import Found as Found
from fnn.search.records import Members as Members
from fnn.search.records import Report as Report
from fnn.search.records import Row as Row
from fnn.search.search import classes as classes
from fnn.search.search import labels as labels
from fnn.search.search import quantities as quantities
