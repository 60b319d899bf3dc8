"""The .tflite file: its flatbuffer, its metadata, and what of it XNNPACK runs."""
