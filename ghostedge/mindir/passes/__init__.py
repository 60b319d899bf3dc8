"""The rewrites of a graph, one a file; each takes a graph and returns another that computes the same."""
