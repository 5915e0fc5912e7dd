"""What detectors compute: their layers, targets, losses and detections."""
