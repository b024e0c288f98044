"""`jax.numpy`, `jax.numpy.linalg` and `jax.numpy.fft`: products, decompositions, norms and transforms."""

import jax.numpy as jnp

from experiments.audit.calls import first, of_definite, of_list, of_parts, of_symmetric, parts, with_static
from experiments.audit.domains import real
from experiments.audit.target import Target

PRODUCTS = (
    Target("jax.numpy.cross", (real(3), real(3))),
    Target("jax.numpy.dot", (real(3), real(3))),
    Target("jax.numpy.dot", (real(2, 3), real(3)), label="matrix"),
    Target("jax.numpy.einsum", (real(2, 3), real(3, 2)), call=lambda f, a, b: f("ij,jk->ik", a, b)),
    Target("jax.numpy.einsum", (real(3, 3),), call=lambda f, a: f("ii->i", a), label="diagonal"),
    Target(
        "jax.numpy.einsum", (real(2), real(3), real(2, 3)), call=lambda f, x, y, a: f("i,j,ij", x, y, a), label="form"
    ),
    Target("jax.numpy.inner", (real(2, 3), real(3))),
    Target("jax.numpy.kron", (real(2, 2), real(2, 2))),
    Target("jax.numpy.matmul", (real(2, 3), real(3, 2))),
    Target("jax.numpy.matvec", (real(2, 3), real(3))),
    Target("jax.numpy.outer", (real(2), real(3))),
    Target("jax.numpy.tensordot", (real(2, 3), real(3, 2)), options={"axes": 1}),
    Target("jax.numpy.vdot", (real(3), real(3))),
    Target("jax.numpy.vecdot", (real(2, 3), real(3))),
    Target("jax.numpy.vecmat", (real(3), real(3, 2))),
)

LINALG = (
    Target("jax.numpy.linalg.cholesky", (real(3, 3),), call=of_definite),
    Target("jax.numpy.linalg.cond", (real(3, 3),)),
    Target("jax.numpy.linalg.cond", (real(3, 3),), options={"p": 1}, label="p=1"),
    Target("jax.numpy.linalg.cond", (real(3, 3),), options={"p": "fro"}, label="p=fro"),
    Target("jax.numpy.linalg.det", (real(2, 2),), label="2x2"),
    Target("jax.numpy.linalg.det", (real(3, 3),), label="3x3"),
    Target("jax.numpy.linalg.det", (real(4, 4),)),
    Target("jax.numpy.linalg.eig", (real(3, 3),), call=lambda f, a: (abs(f(a)[0]) ** 2).sum()),
    Target("jax.numpy.linalg.eigvals", (real(3, 3),), call=lambda f, a: (f(a) ** 3).sum().real),
    Target("jax.numpy.linalg.eigh", (real(3, 3),), call=of_symmetric),
    Target(
        "jax.numpy.linalg.eigh",
        (real(3, 3),),
        call=lambda f, a: (lambda w, v: (v * jnp.exp(w)) @ v.T)(*of_symmetric(f, a)),
        label="exp",
    ),
    Target("jax.numpy.linalg.eigvalsh", (real(3, 3),), call=of_symmetric),
    Target(
        "jax.numpy.linalg.eigvalsh",
        (real(3, 3),),
        call=lambda f, a: (of_symmetric(f, a) ** 3).sum(),
        label="sum of cubes",
    ),
    Target("jax.numpy.linalg.inv", (real(3, 3),)),
    Target("jax.numpy.linalg.lstsq", (real(4, 2), real(4)), call=first),
    Target("jax.numpy.linalg.matrix_norm", (real(2, 3),)),
    Target("jax.numpy.linalg.matrix_norm", (real(2, 3),), options={"ord": "nuc"}, label="nuc"),
    Target("jax.numpy.linalg.matrix_norm", (real(2, 3),), options={"ord": 2}, label="2"),
    Target("jax.numpy.linalg.matrix_norm", (real(2, 3),), options={"ord": 1}, label="1"),
    Target("jax.numpy.linalg.matrix_power", (real(3, 3),), call=with_static(3)),
    Target("jax.numpy.linalg.matrix_power", (real(3, 3),), call=with_static(-2), label="-2"),
    Target("jax.numpy.linalg.multi_dot", (real(2, 3), real(3, 4), real(4, 2)), call=of_list),
    Target("jax.numpy.linalg.norm", (real(),)),
    Target("jax.numpy.linalg.norm", (real(2, 3),), options={"axis": 1}, label="axis=1"),
    Target("jax.numpy.linalg.norm", (real(),), options={"ord": 1}, label="1"),
    Target("jax.numpy.linalg.norm", (real(),), options={"ord": 3}, label="3"),
    Target("jax.numpy.linalg.norm", (real(),), options={"ord": 4}, label="4"),
    Target("jax.numpy.linalg.norm", (real(),), options={"ord": 0.5}, label="0.5"),
    Target("jax.numpy.linalg.norm", (real(),), options={"ord": 2.5}, label="2.5"),
    Target("jax.numpy.linalg.norm", (real(),), options={"ord": jnp.inf}, label="inf"),
    Target("jax.numpy.linalg.norm", (real(),), options={"ord": -jnp.inf}, label="-inf"),
    Target("jax.numpy.linalg.vector_norm", (real(),), options={"ord": 3}),
    Target("jax.numpy.linalg.vector_norm", (real(), real()), call=lambda f, a, b: f(a + 1j * b), label="complex"),
    Target("jax.numpy.linalg.pinv", (real(3, 2),)),
    Target("jax.numpy.linalg.pinv", (real(3, 3),), call=of_symmetric, options={"hermitian": True}, label="hermitian"),
    Target("jax.numpy.linalg.qr", (real(3, 3),)),
    Target("jax.numpy.linalg.qr", (real(4, 2),), label="tall"),
    Target("jax.numpy.linalg.qr", (real(2, 3),), options={"mode": "r"}, label="wide"),
    Target("jax.numpy.linalg.slogdet", (real(3, 3),), call=lambda f, a: f(a)[1]),
    Target("jax.numpy.linalg.slogdet", (real(3, 3),), call=lambda f, a: f(a, method="qr")[1], label="qr"),
    Target("jax.numpy.linalg.solve", (real(3, 3), real(3))),
    Target("jax.numpy.linalg.svd", (real(3, 2),), call=lambda f, a: f(a, full_matrices=False)),
    Target(
        "jax.numpy.linalg.svd", (real(3, 3),), call=lambda f, a: (lambda u, s, v: (u * s**3) @ v)(*f(a)), label="cube"
    ),
    Target("jax.numpy.linalg.svdvals", (real(3, 2),)),
    Target("jax.numpy.linalg.svdvals", (real(3, 3),), call=lambda f, a: (f(a) ** 2).sum(), label="sum of squares"),
    Target("jax.numpy.linalg.tensorinv", (real(2, 2, 4),), options={"ind": 2}),
    Target("jax.numpy.linalg.tensorsolve", (real(2, 2, 4), real(2, 2))),
)

FFT = (
    Target("jax.numpy.fft.fft", (real(5),), call=parts),
    Target("jax.numpy.fft.fft", (real(3), real(3)), call=of_parts, label="complex"),
    Target("jax.numpy.fft.fft", (real(5),), call=lambda f, x: parts(f, x, n=7), label="n=7"),
    Target("jax.numpy.fft.fft2", (real(2, 3),), call=parts),
    Target("jax.numpy.fft.fftn", (real(2, 3),), call=parts),
    Target("jax.numpy.fft.fftshift", (real(5),)),
    Target("jax.numpy.fft.hfft", (real(3), real(3)), call=of_parts),
    Target("jax.numpy.fft.ifft", (real(3), real(3)), call=of_parts),
    Target("jax.numpy.fft.ifft2", (real(2, 3), real(2, 3)), call=of_parts),
    Target("jax.numpy.fft.ihfft", (real(4),), call=parts),
    Target("jax.numpy.fft.irfft", (real(3), real(3)), call=of_parts),
    Target("jax.numpy.fft.irfft", (real(3), real(3)), call=lambda f, a, b: of_parts(f, a, b, n=5), label="n=5"),
    Target("jax.numpy.fft.irfft2", (real(2, 3), real(2, 3)), call=of_parts),
    Target("jax.numpy.fft.rfft", (real(4),), call=parts),
    Target("jax.numpy.fft.rfft", (real(5),), call=parts, label="odd"),
    Target("jax.numpy.fft.rfft", (real(5),), call=lambda f, x: parts(f, x, norm="ortho"), label="ortho"),
    Target("jax.numpy.fft.rfft2", (real(2, 3),), call=parts),
    Target("jax.numpy.fft.rfftn", (real(2, 3),), call=parts),
)

TARGETS = PRODUCTS + LINALG + FFT
