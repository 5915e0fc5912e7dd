"""Running a study: its configuration, the driver, progress and records."""
