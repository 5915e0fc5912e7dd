"""SPLG and PGCL, and how the two attach to dense features."""
