"""Metrics: the ranges over held-out sources, and when a set is near chance."""

from __future__ import annotations

from typing import Any

import pytest

from detectors.metrics import Metric, MetricsSummary, near_chance, summarised


def metric(auroc: float | None = None, low: float | None = None, held_out: bool = True, **others: Any) -> Metric:
    interval = None if low is None else (low, 0.9)
    return Metric.model_validate(
        {
            "auroc": auroc,
            "auroc_interval_95": interval,
            "n_positive": 5,
            "n_negative": 5,
            "held_out": held_out,
            **others,
        }
    )


def test_ranges_are_of_held_out_sources_that_have_the_figure() -> None:
    found = summarised(
        {
            "a": metric(0.6, dense_probe_auroc=0.7),
            "b": metric(0.8, word_only_auroc=0.5),
            "c": metric(None),
            "fitted": metric(1.0, held_out=False, dense_probe_auroc=1.0),
            "own_a": metric(0.4, dense_probe_auroc=0.3, word_only_auroc=0.2),
        }
    )
    assert found == MetricsSummary(
        auroc_by_others=(0.6, 0.8),
        auroc_own=(0.4, 0.4),
        dense_probe_by_others=(0.7, 0.7),
        dense_probe_own=(0.3, 0.3),
        word_only_by_others=(0.5, 0.5),
        word_only_own=(0.2, 0.2),
    )
    assert set(summarised({}).model_dump().values()) == {None}


@pytest.mark.parametrize(
    ("metrics", "near"),
    [
        ({"a": metric(0.55, 0.4), "b": metric(0.65, 0.6)}, True),  # .5 on average
        ({"a": metric(0.55, 0.4), "b": metric(0.65, 0.61)}, False),
        ({"a": metric(0.55, 0.4), "own_b": metric(0.9, 0.8)}, True),  # own sources do not count
        ({"a": metric(0.55, 0.4), "b": metric(0.9, 0.9, held_out=False)}, True),  # nor do those that it was fitted on
        ({"a": metric(None), "own_b": metric(0.4, 0.3)}, False),  # nothing is known
        ({}, False),
    ],
)
def test_near_chance(metrics: dict[str, Metric], near: bool) -> None:
    assert near_chance(metrics) == near
