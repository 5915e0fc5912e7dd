"""Studies: declared, planned, run."""
