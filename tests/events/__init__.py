"""Tests of monitor.events."""
