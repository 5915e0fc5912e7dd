"""A study that fits somebody's data and machine."""
