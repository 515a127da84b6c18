"""Envelopes around the body of an event, one module each."""
