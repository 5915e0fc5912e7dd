"""What methods do in a training step: views, labels and loss terms."""
