"""Labelled texts and the recipes that name them."""
