"""What a data set holds, as numbers and tables."""
