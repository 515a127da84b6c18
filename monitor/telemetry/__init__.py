"""What latentwatch reports about itself: metrics, spans, logs, health."""
