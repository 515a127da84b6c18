"""Tests of monitor.lab.data."""
