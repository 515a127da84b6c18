"""Tests of monitor.detectors."""
