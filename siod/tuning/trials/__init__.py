"""What one trial does in its own process, and what it leaves behind."""
