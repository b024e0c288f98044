"""The claims of the course notes: the ledger, the evidence, the report page."""
