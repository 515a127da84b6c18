"""Writes a model, cut after the hook layer, and an SAE as one ONNX graph. Needs onnx; reading does not."""
