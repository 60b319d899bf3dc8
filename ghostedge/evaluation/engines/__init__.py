"""Where the workers of an evaluation run: processes here, or a Ray cluster."""
