"""Quantise a float .tflite: observe it, choose ranges, round weights, write."""
