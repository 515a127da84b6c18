"""Tests of monitor.model."""
