"""Alerts: what is delivered when a feature set is active."""
