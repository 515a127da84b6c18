"""Growth is counted from the end of warm-up, and single samples don't decide it."""

from __future__ import annotations

import pytest

from tests.soak.usage import Growth, Usage


def test_growth_leaves_out_the_warm_up_and_single_samples() -> None:
    warm_up = [Usage(10.0 * n, 5, 9) for n in range(10)]
    steady = [Usage(100.0, 20, 30)] * 45 + [Usage(102.0, 20, 31)] * 45
    steady[1] = steady[-1] = Usage(500.0, 99, 99)
    growth = Growth.over([*warm_up, *steady], warm_up=0.1)
    assert growth.rss == pytest.approx(0.02)
    assert (growth.start.descriptors, growth.end.descriptors) == (30, 31)


def test_a_short_run_has_a_growth_too() -> None:
    assert Growth.over([Usage(100.0, 1, 1)], warm_up=0.5).rss == 0
