"""Defects of annotation files: found, reported, repaired."""
