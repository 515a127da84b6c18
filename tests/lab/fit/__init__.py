"""Tests of monitor.lab.fit."""
