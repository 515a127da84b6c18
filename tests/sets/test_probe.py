"""Probes: named by the hash of their numbers, and stacked for a reader."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.errors import ConfigError
from monitor.sets.probe import Probe, stacked

DIRECTION = np.array([1, -2, 0.5], np.float32)


def test_the_same_numbers_have_the_same_name() -> None:
    one = Probe.of(DIRECTION, 0.5)
    assert Probe.of(DIRECTION.copy(), 0.5).sha256 == one.sha256
    others = [Probe.of(DIRECTION, 0.25), Probe.of(DIRECTION[::-1], 0.5), Probe.of(-DIRECTION, 0.5)]
    assert len({probe.sha256 for probe in (one, *others)}) == 4


def test_stacked_directions_are_columns() -> None:
    directions, offsets = stacked([Probe("a", DIRECTION, 1.0), Probe("b", -DIRECTION, 2.0)], 3)
    assert directions.T.tolist() == [[1, -2, 0.5], [-1, 2, -0.5]]
    assert offsets.tolist() == [1.0, 2.0]
    with pytest.raises(ConfigError, match="a probe has 3 numbers, but the residual stream has width 4"):
        stacked([Probe("a", DIRECTION, 1.0)], 4)
