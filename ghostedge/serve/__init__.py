"""Serve a page that any phone opens: does a model give the right answers there, how fast, how accurately."""
