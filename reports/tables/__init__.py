"""The paper-style tables in every format."""
