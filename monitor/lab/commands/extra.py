"""The libraries that only the lab needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from monitor.errors import ConfigError


@contextmanager
def lab_extra() -> Iterator[None]:
    """Wraps imports of lab modules. A missing library raises ConfigError with the command that installs it."""
    try:
        yield
    except ModuleNotFoundError as e:
        package = (e.name or "").partition(".")[0]
        if package in ("monitor", "detectors"):
            raise
        raise ConfigError(f"the lab needs {package}; run: pip install 'latentwatch[lab]'") from None
