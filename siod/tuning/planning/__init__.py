"""From a study to its trials: their files, their places, their cost."""
