"""Tests of monitor.sources."""
