"""Tests of monitor.sae."""
