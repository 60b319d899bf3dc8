"""Changes of a .tflite's graph, each a function ``rewrite(graph, ...)`` that returns how many places it changed.

They keep what the graph computes, up to the rounding of float32. Those of `to_explain` are there to change it; they
return what they put where.
"""
