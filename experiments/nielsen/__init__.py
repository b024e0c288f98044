"""Nielsen's published results on MNIST, side by side with fnn's."""
