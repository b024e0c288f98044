"""Training: steps, epochs, `fit`, evaluation, and how a training stops and resumes.

Train in the way that suits you:

    history, progress, early stopping   fnn.fit(network, loss, optimizer, (x, y), epochs=, batch_size=, key=)
    a loop of your own                  state = fnn.init_state(network, optimizer, key)
                                        step = jax.jit(fnn.make_step(network, loss, optimizer))
    an epoch as one program             epoch = fnn.make_epoch(step, batch_size)
                                        state, costs = epoch(state, (x, y))        (the given state is donated)
    many trainings at once              run = fnn.make_run(...); results = fnn.sweep(run, hypers, keys)
    checkpoints                         fnn.fit(..., checkpoint_dir=folder), then the same with resume=True
    the gradient alone                  fnn.value_and_grad(network, loss, l2)(params, x, y)

Optimizers follow optax's protocol: optax's own optimizers can take the place of fnn's, and both can be chained.

Precision and reproducibility: `fit`, `make_epoch`, `make_run`, `sweep`, `predict` and `evaluate` compute float32
products in full on every platform unless `precision=` or `jax.default_matmul_precision` says otherwise. A step or a
`value_and_grad` that you jit yourself has JAX's default precision on a GPU or TPU; wrap it in
`jax.default_matmul_precision("highest")`. The same key gives the same bits on one device, also after a training
was interrupted and resumed. Tests show this on the CPU. A GPU needs `deterministic=True` for it. Without, XLA there
takes the algorithm that was fastest when it compiled, and adds rows to one address (the gradient of an `embedding`) in
the order in which threads arrive: two runs may differ by rounding. With it, XLA sorts the rows first, leaves matrix
products to cuBLAS, and refuses operations that it cannot repeat exactly (the select-and-scatter that `jax.grad` makes
of a maximum over windows; no backward of this library uses it). This was read in programs compiled for an H100 (jax
0.10), which did not run; on a TPU nothing was tested. A step that you jit yourself takes the options from you:
`jax.jit(step, compiler_options=…)`, with those of `fnn.training.numerics.compiler_options`.

The path of a batch, from `fit` to the derivative:

    fit.fit                     checks the arguments, places the data, and calls the loop
    loop.run_loop               on the host: calls programs, checks that all is finite, saves, reports
    programs.run_epochs         compiled: epochs up to the next report, with early stopping
    epoch.reported_epoch        one epoch: shuffle, scan over its batches (`epoch`), means and validation (`report`)
    step.make_logging_step      one step: gradient, then the update of the optimizer
    fnn.backprop                forward through network and loss, then backward

The other modules:

    arguments, data_checks      validation of arguments and data
    partial_epoch, stream_loop  steps inside an epoch; the loop for data larger than the device
    evaluation, forward_pass    `predict` and `evaluate`; the network over all examples in batches
    plateau                     a learning rate that falls when a value of the history stops improving
    compiled, numerics          programs that do not pile up; their precision, and whether they are deterministic
    memory                      whether data fit on the devices, and how much was used
    resume                      what a checkpoint of `fit` holds, which checkpoints are kept (the newest and the
                                best), and how a training resumes
    fingerprint, compatibility  which training a checkpoint belongs to; checkpoints of earlier versions
    description, user_code      what the user chose, as text; `object_state`: what objects hold
    failures                    the search for the step and the leaf that are not finite
    signals, progress           Ctrl-C and SIGTERM; lines and a progress bar (reporter, notebook: in Jupyter)
"""
