"""What studies leave in the folder of runs: what is there, what may go, and what a dead process left half done."""
