"""OpenVINO IR: made from ONNX and quantised."""
