"""Activations that a serving engine sent: payloads, tokens and the reader of both."""
