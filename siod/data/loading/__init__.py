"""Batches from prepared files."""
