"""Runs that kill workers and brokers while they work."""
