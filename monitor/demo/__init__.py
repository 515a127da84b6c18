"""The demo: a broker, a sidecar and sample events on one machine."""
