"""The user's data sets, in and out: formats recognised, read, joined, divided, written."""
