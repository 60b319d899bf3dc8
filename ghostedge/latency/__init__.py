"""Measure an artifact's latency where it will run."""
