"""From one Experiment to a trained detector."""
