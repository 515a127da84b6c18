"""Conversations as tokens, with the segment and the characters of each."""
