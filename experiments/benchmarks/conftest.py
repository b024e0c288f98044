"""Keep modules that need optional libraries out of doctest collection."""

collect_ignore_glob = ["peer_*.py", "speedrun_torch.py"]
