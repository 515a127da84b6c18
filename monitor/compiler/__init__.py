"""Writes a reader model, cut after its hook layer, and its SAE as one ONNX graph. Needs onnx; the runtime does not."""
