"""Images: decoding, preprocessing, labels."""
