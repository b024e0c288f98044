"""Data sets for the experiments: bundled, synthetic, downloaded, or the user's own."""
