"""The data sets that experiments train on."""
