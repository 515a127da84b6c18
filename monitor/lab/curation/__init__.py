"""Finds candidate features and shows where they are active."""
