"""Tests of monitor.kafka."""
