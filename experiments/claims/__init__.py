"""The claims of the course notes: the ledger, what shows each claim, and the report."""
