"""The calls to audit, one module per library or subpackage. Each module has a tuple TARGETS, one line per call."""
