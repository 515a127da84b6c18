"""Conversations as tokens; for each token, its segment and its characters."""
