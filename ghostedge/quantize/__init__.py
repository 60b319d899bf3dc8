"""The numbers of quantisation, which TFLite and OpenVINO share: ranges of activations, rounding of weights, checks."""
