"""The score-aware detection protocol."""
