"""One pass over detections: ranked, paired, matched, counted."""
