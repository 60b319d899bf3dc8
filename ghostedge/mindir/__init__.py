"""From a MindIR file to ONNX: read the graph, rewrite it, lower it primitive by primitive."""
