"""PyTorch, Flax and Equinox are not installed everywhere, and their sides of the comparisons have no doctests."""

collect_ignore_glob = ["peer_*.py", "speedrun_torch.py"]
