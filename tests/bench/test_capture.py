"""The measurement of the middleware: it runs, and has a row for each case."""

from __future__ import annotations

import pytest

from monitor.bench.capture import main


def test_a_row_for_each_case(capfd: pytest.CaptureFixture[str]) -> None:
    main(requests=4, warm_up=1)
    rows = [line.split("|")[1].strip() for line in capfd.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows == ["", "direct", "middleware", "middleware, destination down", "proxy and middleware"]
