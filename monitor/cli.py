"""The latentwatch command."""


def main() -> None:
    """Entry point."""
