"""Data: standardisation, one-hot targets, splits and batches; and streams of data larger than the device."""

from fnn.data.arrays import Standardization as Standardization
from fnn.data.arrays import batches as batches
from fnn.data.arrays import fit_standardization as fit_standardization
from fnn.data.arrays import one_hot as one_hot
from fnn.data.arrays import split as split
from fnn.data.arrays import standardize as standardize
