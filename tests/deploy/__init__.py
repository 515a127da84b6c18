"""Tests of monitor.deploy."""
