"""Tests of monitor.lab.diff."""
