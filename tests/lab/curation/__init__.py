"""Tests of monitor.lab.curation."""
