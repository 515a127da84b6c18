"""Tests of monitor.lab."""
