"""A running study on a terminal, and images side by side."""
