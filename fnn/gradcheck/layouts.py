"""Arrays over devices with explicit axes: a function may demand a layout, which the checks' own points do not have.

With axes of type `jax.sharding.AxisType.Explicit`, the default of `jax.make_mesh`, the layout of an array is part of
its type. Then arguments and cotangents get the layout with which the user passed them, and outputs lose theirs.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def explicit(array) -> NamedSharding | None:
    """Return the layout of an array or of its shape if explicit axes of a mesh shard it, else None."""
    layout = getattr(array, "sharding", None)
    if not isinstance(layout, NamedSharding) or not any(layout.spec):
        return None
    return layout if AxisType.Explicit in layout.mesh.axis_types else None


def mesh_of(leaves: Sequence) -> contextlib.AbstractContextManager:
    """Enter the mesh whose explicit axes shard some of the leaves, if there is one and the caller is in none."""
    meshes = [layout.mesh for layout in map(explicit, leaves) if layout and isinstance(layout.mesh, Mesh)]
    return jax.set_mesh(meshes[0]) if meshes and not jax.sharding.get_mesh().axis_names else contextlib.nullcontext()


def sharded_like(array, layout: NamedSharding | None) -> Any:
    """Return an array in a layout from `explicit`; the array itself for None."""
    return array if layout is None else jax.reshard(array, layout)


def unsharded(array) -> Any:
    """Return an array without a layout of explicit axes."""
    layout = explicit(jax.typeof(array))
    return array if layout is None else jax.reshard(array, NamedSharding(layout.mesh, PartitionSpec()))
