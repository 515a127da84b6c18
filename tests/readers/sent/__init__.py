"""Tests of monitor.readers.sent."""
