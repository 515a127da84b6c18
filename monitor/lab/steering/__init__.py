"""Clamped features: what a model writes then, and whether the features of an alert caused the text."""
