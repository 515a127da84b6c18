"""What latentwatch tells about itself: metrics, spans, logs, health."""
