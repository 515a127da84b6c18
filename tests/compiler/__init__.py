"""Tests of monitor.compiler."""
