"""Wire formats of events, one module each; monitor.events.parse has their registry."""
