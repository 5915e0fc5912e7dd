"""The page that people review proposed boxes on."""
