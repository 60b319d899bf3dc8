"""Changes of a .tflite's graph that keep what it computes, one a file."""
