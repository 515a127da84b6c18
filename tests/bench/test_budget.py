"""Time is shared out by weight, and what is not used goes to later measurements."""

from __future__ import annotations

import dataclasses
import math

import pytest

from monitor.bench.budget import Budget, Slice
from monitor.bench.progress import Progress
from monitor.bench.sizes import QUICK


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_slices_go_by_weight_and_unused_time_is_passed_on(clock: Clock) -> None:
    budget = Budget(100, {"a": 1, "b": 2, "c": 1}, clock)
    first = budget.begin("a")
    assert first.left_s == 25
    clock.now += 4
    assert first.left_s == 21
    assert budget.begin("b").left_s == pytest.approx(64)  # two thirds of 96
    clock.now += 90
    assert budget.begin("c").left_s == pytest.approx(6)  # the last one gets all that is left


def test_a_measurement_that_takes_too_long_costs_the_later_ones(clock: Clock) -> None:
    budget = Budget(100, {"a": 1, "b": 1}, clock)
    first = budget.begin("a")
    clock.now += 300
    assert first.left_s == 0
    assert budget.begin("b").left_s == 0


def test_every_measurement_has_one_slice(clock: Clock) -> None:
    budget = Budget(100, {"a": 1}, clock)
    budget.begin("a")
    with pytest.raises(KeyError):
        budget.begin("a")


@pytest.mark.parametrize(("each_s", "fits"), [(0.0, 9), (0.5, 9), (2.0, 5), (10.0, 1), (999.0, 1)])
def test_how_many_runs_fit(each_s: float, fits: int, clock: Clock) -> None:
    assert Slice(10, clock).fits(9, each_s) == fits


def test_without_a_limit_everything_fits(clock: Clock) -> None:
    part = Budget(math.inf, {"a": 1, "b": 1}, clock).begin("a")
    clock.now += 1e9
    assert part.left_s == part.part(0.1).left_s == math.inf
    assert part.fits(9, 1e9) == 9


def test_a_slow_machine_gets_shorter_texts() -> None:
    assert QUICK.for_speed(1e6, 8) is QUICK
    slow = QUICK.for_speed(700, 8)  # 9 runs of 1,024 tokens would take 13 s
    assert slow == dataclasses.replace(QUICK, scaling_tokens=512, lengths=(64, 256), batches=(1,), conversation_turns=3)
    slowest = QUICK.for_speed(1, 8)
    assert (slowest.scaling_tokens, slowest.lengths, slowest.conversation_turns) == (256, (64, 256), 2)


def test_progress_says_which_stage_of_how_many() -> None:
    shown: list[tuple[str, str]] = []
    progress = Progress(lambda message, detail: shown.append((message, detail)), 2)
    progress.stage("short")
    progress.detail("onnx_fp32")
    progress.stage("long")
    assert shown == [("1 of 2: short", ""), ("1 of 2: short", "onnx_fp32"), ("2 of 2: long", "")]
