"""Defects of annotation files: found, told, repaired."""
