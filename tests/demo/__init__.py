"""Tests of monitor.demo."""
