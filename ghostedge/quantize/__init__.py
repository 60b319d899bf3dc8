"""Quantise a float .tflite model: observe, choose ranges, correct biases, write, check, repair."""
