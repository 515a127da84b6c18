"""ExitCode: how the process ends, the same for every command; docs/cli.md lists the codes."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The codes other than 0."""

    FAILED = 1
    DIFFERENT = 1
    """Of diff-config, replay and `drift --fail-on`, as of diff."""
    BAD_CONFIG = 2
    BAD_EVENTS = 3
