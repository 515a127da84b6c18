"""Shipped feature sets: data alone, one folder for each (model, layer, SAE)."""
