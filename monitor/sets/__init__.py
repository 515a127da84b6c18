"""Feature sets, loaded from disk."""
