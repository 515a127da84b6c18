"""Tests of monitor.lab.sae_training."""
