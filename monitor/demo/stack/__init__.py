"""The observability stack on this machine: `python -m monitor.demo.stack`."""
