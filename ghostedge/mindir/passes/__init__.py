"""The rewrites of a graph; each takes a graph and returns another that computes the same."""
