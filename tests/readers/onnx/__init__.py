"""Tests of monitor.readers.onnx."""
