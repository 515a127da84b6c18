"""Activations of labelled texts."""
