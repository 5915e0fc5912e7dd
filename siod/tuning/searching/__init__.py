"""Which settings to try next, and which were best."""
