"""MindIR: make it from a checkpoint, read it, and lower it to ONNX primitive by primitive."""
