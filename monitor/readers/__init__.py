"""Readers: tokens in, feature activations out."""
