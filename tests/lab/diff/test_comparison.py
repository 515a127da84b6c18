"""Warnings about the SAE's fit, and movers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from monitor.lab.diff.comparison import fit_warnings, top_movers
from monitor.lab.diff.model_reading import ModelReading

FIT: dict[str, Any] = {"fvu": 0.2, "l0": 40.0, "never_active_share": 0.1}


def test_a_worse_fit_is_said() -> None:
    assert fit_warnings(FIT, {"fvu": 0.24, "l0": 45.0, "never_active_share": 0.14}) == []
    assert fit_warnings(FIT, {**FIT, "fvu": 0.3}) == ["the SAE leaves 30.0% of the variance unexplained, 20.0% before"]
    assert fit_warnings(FIT, {**FIT, "l0": 20.0}) == ["20.0 latents are active on a token, 40.0 before"]
    (dead,) = fit_warnings(FIT, {**FIT, "never_active_share": 0.2})
    assert dead == "20.0% of the latents are never active, 10.0% before"
    assert fit_warnings({**FIT, "fvu": None, "l0": None}, FIT) == []


def test_movers_are_those_with_large_effects_on_enough_texts() -> None:
    draw = np.random.default_rng(0)
    before = np.zeros((8, 4), np.float32)
    before[:, 2] = 3
    after = before.copy()
    after[:, 1] += 1 + 0.1 * draw.random(8, np.float32)  # rises on every text
    after[:, 2] -= draw.random(8, np.float32)  # falls
    after[0, 3] = 100  # active on one text only
    before[7, :] = math.nan  # a text without tokens
    found = top_movers(ModelReading({}, before, FIT), ModelReading({}, after, FIT), {1: "one"}, 5)
    assert [(m.latent, m.label, m.texts_before, m.texts_after) for m in found] == [(1, "one", 0, 7), (2, "", 7, 7)]
    assert found[1].effect < 0 < found[0].effect
    assert found[1].strongest[0] == int(np.argmin(after[:7, 2]))
    assert 7 not in found[0].strongest
