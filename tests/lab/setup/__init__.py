"""Tests of monitor.lab.setup."""
