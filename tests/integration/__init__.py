"""Tests of monitor.integration."""
