"""Trains SAEs: texts, activations, steps, figures."""
