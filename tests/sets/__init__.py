"""Tests of monitor.sets."""
