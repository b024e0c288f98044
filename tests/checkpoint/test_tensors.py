"""The bytes of a safetensors file, of arrays of every dtype and layout, are what the safetensors library reads."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import load

from fnn.checkpoint import tensors

NAMES = {name: dtype for dtype, name in tensors._NAMES.items()}  # as in a file -> as in NumPy
OTHERS = {"bfloat16", "float8_e4m3fn", "float8_e5m2"}  # which `load` does not know
LAYOUTS = {
    "C": lambda a: a,
    "Fortran": np.asfortranarray,
    "transposed": lambda a: a.T,
    "reversed": lambda a: a[::-1] if a.ndim else a,
    "every other": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
}


@st.composite
def arrays(draw):
    dtype, shape = (
        jnp.dtype(draw(st.sampled_from(sorted(tensors._NAMES)))),
        draw(st.lists(st.integers(0, 4), max_size=4)),
    )
    data = draw(st.binary(min_size=(size := int(np.prod(shape)) * dtype.itemsize), max_size=size))
    if dtype.kind == "b":
        data = bytes(byte & 1 for byte in data)
    array = np.frombuffer(data, dtype).reshape(shape)
    return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](array)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(texts.filter(lambda name: name != "__metadata__"), arrays(), max_size=5),
    st.none() | st.dictionaries(texts, texts, max_size=3),
)
def test_the_library_reads_what_is_encoded(trees, metadata):
    data = b"".join(tensors.encode(trees, metadata))
    described = {name: [str(a.dtype), a.shape, a.tobytes()] for name, a in trees.items()}
    found = {
        name: [NAMES[part["dtype"]], tuple(part["shape"]), bytes(part["data"])] for name, part in deserialize(data)
    }
    assert found == described
    readers = [lambda: tensors.decode(data, "file")]
    if not OTHERS & {str(a.dtype) for a in trees.values()}:
        readers.append(lambda: load(data))
    for read in readers:
        assert {name: [str(a.dtype), a.shape, a.tobytes()] for name, a in read().items()} == described
    assert tensors.metadata_of(data) == (metadata or {})


def test_arrays_of_several_blocks_in_any_layout():
    """Each is larger than a block; a part of a row of the fourth is, too."""
    rows = np.arange(2.0**20).reshape(2**10, -1)
    cases = [rows, rows.T, rows[:, ::-1], np.zeros((2, 1, 2**23), "uint8")[::-1], rows[::2, None]]
    cases += [np.broadcast_to(np.float32(2), (2**11, 2**10)), np.asfortranarray(rows.reshape(2**6, 2**7, -1))]
    for case in cases:
        (found,) = tensors.decode(b"".join(tensors.encode({"a": case})), "file").values()
        assert found.shape == case.shape
        assert found.tobytes() == case.tobytes()
