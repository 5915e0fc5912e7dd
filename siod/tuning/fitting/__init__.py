"""A study that fits the user's data and machine."""
