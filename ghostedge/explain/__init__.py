"""What quantisation cost, layer by layer."""
