"""Puts an engine together from a config: model, SAE, sets, reader."""
