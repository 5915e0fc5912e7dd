"""Records of runs, and the store they live in."""
