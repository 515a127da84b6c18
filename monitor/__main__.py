"""`python -m monitor` runs the latentwatch command."""

from monitor.cli import main

main()
