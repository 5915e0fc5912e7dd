"""Detectors, one file for one paper."""
