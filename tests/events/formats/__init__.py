"""Tests of monitor.events.formats."""
