"""Tests of monitor.sinks."""
