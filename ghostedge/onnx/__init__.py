"""ONNX models: made from MindIR, rewritten for what reads them, equalised for quantisation."""
