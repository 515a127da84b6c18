"""Tests of monitor.telemetry."""
