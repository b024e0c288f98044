"""Data sets: bundled, synthetic, downloaded, or the user's own."""
