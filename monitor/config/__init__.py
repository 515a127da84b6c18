"""The config file: its sections, and how it is loaded."""
