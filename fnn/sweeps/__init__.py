"""Sweeps: many trainings at once, as one compiled program.

A sweep has two steps. `make_run` makes a whole training a pure function of its hyperparameters and its key. `sweep`
runs that function for all hyperparameters and all keys.

>>> import fnn, jax, jax.numpy as jnp
>>> x = jnp.linspace(-1, 1, 20)[:, None]
>>> run = fnn.make_run(
...     fnn.dense(1, 1),
...     fnn.squared_error,
...     lambda hyper: fnn.momentum(hyper["rate"], hyper["beta"]),
...     (x, 3 * x),
...     epochs=50,
...     batch_size=20,
...     l2=lambda hyper: hyper["l2"],
... )
>>> hypers = {"rate": jnp.array([0.1, 1.0]), "beta": jnp.array([0.9, 0.5]), "l2": jnp.zeros(2)}
>>> results = fnn.sweep(run, hypers, jax.random.split(jax.random.key(0), 3))
>>> results.history["cost"].shape
(2, 3, 50)
>>> results.means().sorted("cost").columns["hyper"]
array([1, 0])

What may vary
-------------

| quantity | how |
|---|---|
| learning rate, momentum, other numbers of the optimizer | `make_optimizer`, a function of the hyperparameters |
| the penalty λ | `l2`, a number or a function of the hyperparameters |
| the scale of the initial weights, numbers of layers | `network`, a layer or a function of the hyperparameters |
| the initial parameters | `init`, parameters or a function of the hyperparameters |
| the widths of layers | `masked_dense` and `masked_mlp`: layers of one size with masks of many widths |
| the rate of `dropout` | `network`, a function of the hyperparameters |
| the examples that a run trains on, and those it holds out | `weight` and `held_out`: cross-validation in one program |
| the number of steps | `stop`; `keep` for the best of several reports |
| the initialisation, dropout | `seed`, or the keys |
| the order of the examples | the keys |

Shapes are the same in all runs, so sizes and batch size do not vary.

Reports
-------

A run reports after each epoch, or after the steps or epochs in `report_at`; nothing is evaluated in between. `outputs`
keeps predictions for the held-out rows at each report.

Results
-------

`results.table()` has a row per run, with the last and the best value of each quantity and the epoch or step of the
best.
`results.means()` has one row per set of hyperparameters, with means over the keys and standard errors. Both are a
`Table`, which sorts (`sorted`), prints (`str`) and saves (`save_csv`).

Memory, speed and devices
-------------------------

`chunk_size` bounds how many runs are in memory at a time. `mesh` shares the runs over the devices of a mesh. With
`on_device=True` the results stay on the device; a table copies what it needs. Runs with the same key see the same
batches, so the products of a batch with the weights of all runs are one large product. A vmapped run is an ordinary JAX
function: `jax.vmap`, `jax.grad` and `jax.jit` apply to the function of `make_run`, too.

`python -m experiments sweep` is an example: 384 trainings as one program, over learning rate, penalty and seed.
"""
