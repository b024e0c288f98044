"""Signals and images: `jax.scipy.{signal,ndimage,interpolate,fft,spatial,integrate}` and `jax.image`."""

import jax.numpy as jnp
import numpy as np
from jax.scipy.spatial.transform import Rotation

from experiments.audit.calls import parts, with_static
from experiments.audit.domains import between, constant, fixed, positive, real
from experiments.audit.target import Target

GRID = (constant([0.0, 0.7, 2.0]), constant([0.0, 1.0, 1.5, 3.0]))

TARGETS = (
    Target("jax.scipy.signal.convolve", (real(4), real(3))),
    Target("jax.scipy.signal.convolve", (real(4), real(3)), options={"method": "fft"}, label="fft"),
    Target("jax.scipy.signal.convolve2d", (real(3, 3), real(2, 2))),
    Target("jax.scipy.signal.convolve2d", (real(3, 3), real(2, 2)), options={"mode": "valid"}, label="valid"),
    Target("jax.scipy.signal.correlate", (real(4), real(3))),
    Target("jax.scipy.signal.correlate2d", (real(3, 3), real(2, 2)), options={"mode": "same"}),
    Target(
        "jax.scipy.signal.csd",
        (real(8), real(8)),
        options={"nperseg": 4},
        call=lambda f, x, y, **o: parts(lambda a, b: f(a, b, **o)[1], x, y),
    ),
    Target("jax.scipy.signal.detrend", (real(5),)),
    Target("jax.scipy.signal.detrend", (real(5),), options={"type": "constant"}, label="constant"),
    Target("jax.scipy.signal.fftconvolve", (real(4), real(3))),
    Target("jax.scipy.signal.istft", (real(3, 4), real(3, 4)), call=lambda f, a, b: f(a + 1j * b, nperseg=4)[1]),
    Target("jax.scipy.signal.stft", (real(8),), call=lambda f, x: parts(lambda v: f(v, nperseg=4)[2], x)),
    Target("jax.scipy.signal.welch", (real(8),), call=lambda f, x: f(x, nperseg=4)[1]),
    Target("jax.scipy.ndimage.map_coordinates", (real(3, 3), between(0, 2, 2, 2)), call=with_static(1)),
    Target(
        "jax.scipy.ndimage.map_coordinates",
        (real(3, 3), between(-2, 4, 2, 2)),
        call=lambda f, x, c: f(x, c, 1, mode="nearest"),
        label="nearest",
    ),
    Target(
        "jax.scipy.ndimage.map_coordinates",
        (real(3, 3), between(-2, 4, 2, 2)),
        call=lambda f, x, c: f(x, c, 1, mode="reflect"),
        label="reflect",
    ),
    Target(
        "jax.scipy.ndimage.map_coordinates",
        (real(3, 3), between(-2, 4, 2, 2)),
        call=lambda f, x, c: f(x, c, 1, mode="wrap"),
        label="wrap",
    ),
    Target(
        "jax.scipy.interpolate.RegularGridInterpolator",
        (*GRID, real(3, 4), between(0, 2, 2), between(0, 3, 2)),
        call=lambda f, x, y, v, a, b: f((x, y), v, bounds_error=False, fill_value=None)(jnp.stack([a, b], -1)),
    ),
    Target("jax.scipy.cluster.vq.vq", (real(3, 2), real(2, 2)), call=lambda f, x, c: f(x, c)[1]),
    Target("jax.scipy.integrate.trapezoid", (real(), positive()), call=lambda f, y, h: f(y, jnp.cumsum(h))),
    Target("jax.scipy.fft.dct", (real(5),)),
    Target("jax.scipy.fft.dct", (real(5),), options={"norm": "ortho"}, label="ortho"),
    Target("jax.scipy.fft.dctn", (real(2, 3),)),
    Target("jax.scipy.fft.idct", (real(5),)),
    Target("jax.scipy.fft.idctn", (real(2, 3),)),
    Target("jax.scipy.spatial.transform.Rotation", (real(4), real(3)), call=lambda f, q, v: f.from_quat(q).apply(v)),
    Target(
        "jax.scipy.spatial.transform.Rotation",
        (real(3),),
        call=lambda f, v: f.from_rotvec(v).as_matrix(),
        label="from_rotvec",
    ),
    Target(
        "jax.scipy.spatial.transform.Rotation",
        (real(3),),
        call=lambda f, v: f.from_rotvec(v).as_rotvec(),
        label="as_rotvec",
    ),
    Target(
        "jax.scipy.spatial.transform.Rotation",
        (real(3),),
        call=lambda f, v: f.from_rotvec(v).magnitude(),
        label="magnitude",
    ),
    Target(
        "jax.scipy.spatial.transform.Rotation",
        (real(3),),
        call=lambda f, v: f.from_euler("xyz", v).as_euler("xyz"),
        label="euler",
    ),
    Target(
        "jax.scipy.spatial.transform.Rotation", (real(3),), call=lambda f, v: f.from_rotvec(v).as_mrp(), label="as_mrp"
    ),
    Target(
        "jax.scipy.spatial.transform.Rotation",
        (real(3, 3),),
        call=lambda f, m: f.from_matrix(m).as_quat(),
        label="from_matrix",
    ),
    Target(
        "jax.scipy.spatial.transform.Slerp",
        (real(2, 3), between(0, 1, 1)),
        call=lambda f, v, t: f.init(jnp.arange(2.0), Rotation.from_rotvec(v))(t).as_matrix(),
    ),
    Target("jax.image.resize", (real(3, 3),), call=with_static((5, 4), "linear")),
    Target("jax.image.resize", (real(3, 3),), call=with_static((2, 2), "cubic"), label="cubic"),
    Target("jax.image.resize", (real(3, 3),), call=with_static((5, 4), "nearest"), label="nearest"),
    Target("jax.image.resize", (real(3, 3),), call=with_static((2, 4), "lanczos3"), label="lanczos3"),
    Target(
        "jax.image.scale_and_translate",
        (real(3, 3), positive(2), real(2)),
        call=lambda f, x, s, t: f(x, (4, 4), (0, 1), s, t, "linear"),
    ),
    Target(
        "jax.image.scale_and_translate",
        (real(3, 3), positive(2), real(2)),
        call=lambda f, x, s, t: f(x, (4, 4), (0, 1), s, t, "cubic"),
        label="cubic",
    ),
    Target(
        "jax.image.scale_and_translate",
        (real(3, 3), positive(2), real(2)),
        call=lambda f, x, s, t: f(x, (4, 4), (0, 1), s, t, "lanczos3"),
        label="lanczos3",
    ),
    Target(
        "jax.image.scale_and_translate",
        (fixed(np.eye(3)), positive(2), fixed(np.zeros(2))),
        call=lambda f, x, s, t: f(x, (2, 2), (0, 1), s, t, "linear", antialias=False),
        label="no antialias",
    ),
)
