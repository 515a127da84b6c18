"""Measures sets: figures, cases, calibration."""
