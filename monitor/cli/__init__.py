"""The latentwatch command."""
