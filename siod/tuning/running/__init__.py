"""One call that runs a study: the driver, what it watches and records."""
