"""The numbers of a report, before any format."""
