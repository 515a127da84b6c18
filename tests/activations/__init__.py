"""Tests of monitor.activations."""
