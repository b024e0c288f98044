"""Another name for what `fnn.checkpoint` does for trees that are split over devices."""

from fnn.checkpoint.split import restore as restore
from fnn.checkpoint.split import save as save
