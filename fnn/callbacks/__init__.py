"""Callbacks for `fit`: log each epoch, keep the best parameters, end the training.

Each function returns a callback; `fit` takes one, or a list of them:

    result = fnn.fit(network, loss, optimizer, data, epochs=100, batch_size=50, key=key, validation=validation,
                     callback=[fnn.callbacks.csv("run/history.csv"),
                               fnn.callbacks.best_model("run/best.safetensors", network=network),
                               fnn.callbacks.time_limit(3600)])

| function | what it does |
|---|---|
| `csv` | writes a row per epoch to a CSV file |
| `tensorboard` | writes the values of each epoch for TensorBoard |
| `best_model` | exports the parameters whenever a value is the best so far |
| `time_limit` | ends the training after some seconds |
| `target` | ends the training when a value is reached |

They are called every `callback_every` epochs of `fit`, and after the last one. All of a list are called in its order,
and any of them can end the training. An exception in one ends `fit`, and the ones after it are not called; with
`checkpoint_dir` the epoch is already saved by then if a checkpoint was due.

A callback of your own is any function of the epoch, the values and the state that returns None, or True to end the
training:

    callback=lambda epoch, logs, state: logs["validation_accuracy"] > 0.99

Weights & Biases
----------------

    run = wandb.init(project="digits")
    result = fnn.fit(..., callback=lambda epoch, logs, state: run.log(logs, step=epoch))
    run.finish()

Learning rate on plateau
------------------------

A callback reads the state and cannot change it: what changes the training must be saved with it, or it would not
resume bitwise. `fnn.reduce_on_plateau` is therefore part of the optimizer:

    optimizer = optax.chain(fnn.adam(1e-3), fnn.reduce_on_plateau("validation_cost", factor=0.5, patience=5))
"""

from fnn.callbacks.best import best_model as best_model
from fnn.callbacks.csv_file import csv as csv
from fnn.callbacks.stopping import target as target
from fnn.callbacks.stopping import time_limit as time_limit
from fnn.callbacks.tensorboard_folder import tensorboard as tensorboard
