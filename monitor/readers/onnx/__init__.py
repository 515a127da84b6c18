"""The compiled reader, on onnxruntime."""
