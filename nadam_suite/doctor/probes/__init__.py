"""The probes behind the contract table, one module per subject."""
