"""fnn: functional neural networks in JAX."""
