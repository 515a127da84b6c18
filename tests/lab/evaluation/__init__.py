"""Tests of monitor.lab.evaluation."""
