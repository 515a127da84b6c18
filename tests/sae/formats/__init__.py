"""Tests of monitor.sae.formats."""
