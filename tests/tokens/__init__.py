"""Tests of monitor.tokens."""
