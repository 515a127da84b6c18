"""Tests of monitor.readers."""
