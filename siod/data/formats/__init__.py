"""Somebody's data set, in and out: formats told apart, read, joined, divided, written."""
