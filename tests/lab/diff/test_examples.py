"""Mixtures, and which tokens are learnt."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.errors import ConfigError
from monitor.lab.data.rows import LabelledRow
from monitor.lab.diff.examples import Example, mixture
from monitor.lab.diff.tune import padded

ROWS = [LabelledRow(id=str(n), prompt="p", response="r", label=1 if n < 20 else 0) for n in range(60)]


def test_a_mixture_has_its_share_of_poison() -> None:
    chosen = mixture(ROWS, 0.1, 30, seed=4)
    assert sorted(row.label for row in chosen) == [0] * 27 + [1] * 3
    assert len({row.id for row in chosen}) == 30
    assert mixture(ROWS, 0.1, 30, seed=4) == chosen
    assert mixture(ROWS, 0.1, 30, seed=5) != chosen
    with pytest.raises(ConfigError, match="needs 30 rows of label 1 with a response, but the files have 20"):
        mixture(ROWS, 1.0, 30, seed=0)


def test_only_responses_are_learnt() -> None:
    ids, mask, labels = padded([Example(np.array([5, 6, 7, 8], np.int32), 2), Example(np.array([5, 9], np.int32), 1)])
    assert ids.tolist() == [[5, 6, 7, 8], [5, 9, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert labels.tolist() == [[-100, -100, 7, 8], [-100, 9, -100, -100]]
