"""Checkpoints: states and parameters in files, verified when they are read and written whole or not at all."""

from fnn.checkpoint.atomic import LockedError as LockedError
from fnn.checkpoint.params_file import export_params as export_params
from fnn.checkpoint.params_file import import_params as import_params
from fnn.checkpoint.store import CheckpointWarning as CheckpointWarning
from fnn.checkpoint.store import latest as latest
from fnn.checkpoint.store import restore as restore
from fnn.checkpoint.store import save as save
from fnn.checkpoint.tensors import DamagedError as DamagedError
