"""Permutation tests, FDR and effect sizes against answers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monitor.lab.change_test import Figures, changes, effect_size, paired_p


def test_a_few_texts_are_tested_exactly() -> None:
    # of the 2^4 choices of signs, only ++++ and ---- give a mean this far from 0
    assert paired_p(np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(2 / 16)
    # and as extreme as 1 + 2 + 3 - 1: every choice with a sum of 5 or more, or -5 or less
    assert paired_p(np.array([1.0, 2.0, 3.0, -1.0])) == pytest.approx(6 / 16)


def test_texts_that_do_not_change_decide_nothing() -> None:
    assert paired_p(np.zeros(50)) == 1.0
    assert math.isnan(paired_p(np.empty(0)))
    assert paired_p(np.array([1.0, 2.0, 3.0, 4.0, *[0.0] * 30])) == pytest.approx(2 / 16)


def test_more_texts_than_can_be_counted_are_sampled_the_same_each_time() -> None:
    rises = np.random.default_rng(0).normal(0.5, 1.0, 60)
    assert paired_p(rises, 999, seed=1) == paired_p(rises, 999, seed=1)
    assert paired_p(rises, 999, seed=1) < 0.05
    assert paired_p(rises - rises.mean(), 999, seed=1) > 0.5


def test_p_values_of_no_change_are_uniform() -> None:
    draw = np.random.default_rng(2)
    p = [paired_p(draw.normal(size=12), 199, seed=n) for n in range(200)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.10


def test_an_effect_is_the_mean_in_standard_deviations() -> None:
    assert effect_size(np.array([1.0, 3.0])) == pytest.approx(2 / math.sqrt(2))
    assert effect_size(np.zeros(3)) == 0.0
    assert math.isnan(effect_size(np.empty(0)))
    assert math.isnan(effect_size(np.array([1.0])))


def test_what_is_tested_together_is_corrected_together() -> None:
    before = np.zeros(4)
    moved = Figures("moved", before, np.array([1.0, 2.0, 3.0, 4.0]), fires_from=1.5)
    still = Figures("still", before, before, fires_from=1.5)
    (alone,) = changes([moved])
    # the p-values are 2/16 of the mean and 2/8 of the rate: three texts begin to fire
    assert (alone.p, alone.rate_after, alone.texts) == (pytest.approx(0.125), 0.75, 4)
    assert (alone.q, alone.rate_q) == (pytest.approx(0.25), pytest.approx(0.25))
    together = changes([moved, still])
    assert [c.name for c in together] == ["moved", "still"]
    # Benjamini and Hochberg: 0.125 * 4 / 1 and 0.25 * 4 / 2
    assert (together[0].q, together[0].rate_q) == (pytest.approx(0.5), pytest.approx(0.5))
    assert together[1].q == 1.0
    assert together[0].significant(0.5)
    assert not together[1].significant(0.5)


def test_texts_without_a_figure_do_not_count() -> None:
    before = np.array([0.0, math.nan, 0.0, 0.0])
    after = np.array([1.0, 5.0, math.nan, 1.0])
    (change,) = changes([Figures("a", before, after, 0.5)])
    assert (change.texts, change.mean_after) == (2, 1.0)
    (empty,) = changes([Figures("a", before[1:2], after[1:2], 0.5)])
    assert empty.texts == 0
    assert empty.row()["q"] is None
    assert not empty.significant(1.0)
