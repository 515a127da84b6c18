"""Tests of monitor.assembly."""
