"""How often sets fire and how high they score, in snapshots without text, and what changed between two times."""
