"""Changes of a .tflite's graph, each a function ``rewrite(graph, ...)`` that returns how many places it changed.

They keep what the graph computes, up to the rounding of float32, but for those of `to_explain`, which are to change it.
"""
