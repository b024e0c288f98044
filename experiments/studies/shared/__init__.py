"""What all studies share: form, saved results, fingerprints, initial parameters."""
