"""Showing alerts to people: on a terminal and as one HTML page."""
