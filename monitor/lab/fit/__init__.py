"""Fits sets, and the detectors that they are compared with."""
