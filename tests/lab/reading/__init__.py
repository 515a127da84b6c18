"""Tests of monitor.lab.reading."""
