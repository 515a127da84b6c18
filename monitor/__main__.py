"""`python -m monitor` runs the latentwatch command."""

from monitor.cli.app import main

main()
