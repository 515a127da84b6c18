"""Tests of monitor.feature_sets."""
