"""Tests of monitor.lab.commands."""
