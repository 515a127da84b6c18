"""Tests of monitor.."""
