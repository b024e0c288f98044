"""The peers have no doctests, and what they import is not installed everywhere."""

collect_ignore_glob = ["peer_*.py"]
