"""Tests of monitor.model.gguf."""
