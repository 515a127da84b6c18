"""Alerts for people: the terminal, and a self-contained page."""
