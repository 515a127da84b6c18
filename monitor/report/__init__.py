"""Shows alerts to people: on a terminal, and as a self-contained page."""
