"""Checks that a detector, method or data source from outside keeps what training relies on; they need no pytest."""
