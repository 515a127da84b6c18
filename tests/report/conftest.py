"""The browser for pages, if this machine has one."""

from __future__ import annotations

import shutil

import pytest

from tests.report.chromium import Chromium


@pytest.fixture(scope="session")
def chromium() -> Chromium:
    """Skips the test if there is no Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        executable = shutil.which(name)
        if executable is not None:
            return Chromium(executable)
    pytest.skip("install Chromium (Debian: apt-get install chromium) to render the page in a browser")
