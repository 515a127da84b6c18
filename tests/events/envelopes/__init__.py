"""Tests of monitor.events.envelopes."""
