"""Measures sets: evaluation, cases, calibration."""
