"""fnn against its peers, side by side."""
