"""Judge ledgers: paired statistics of an artifact against the reference."""
