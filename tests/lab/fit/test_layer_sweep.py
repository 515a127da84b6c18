"""The comparison of layers on residuals whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.lab.data.recipe import Recipes
from monitor.lab.data.rows import LabelledRow
from monitor.lab.fit.layer_sweep import held_out_auroc, joined, sweep_table
from monitor.lab.fit.workbench import Texts, Workbench
from tests.lab.tables import recipes_data, texts_of

DRAW = np.random.default_rng(4)


def source(flip: bool = False) -> Texts:
    """60 rows, the risky half of them further along the first axis (or against it)."""
    rows = [LabelledRow(id=str(n), prompt="p", response="r", label=n % 2) for n in range(60)]
    residual = DRAW.standard_normal((60, 3))
    residual[:, 0] += np.array([row.label for row in rows]) * (-6 if flip else 6)
    return texts_of(rows, np.zeros((60, 0)), residual)


def measured(first: Texts, second: Texts) -> float:
    made = Recipes.model_validate(recipes_data(sources=[{"file": name, "family": name} for name in "ab"]))
    rows = [LabelledRow(id=str(n), prompt="p", response="r", label=0) for n in range(20)]
    harmless = texts_of(rows, np.zeros((20, 0)), DRAW.standard_normal((20, 3)))
    texts = {"a": first, "b": second}
    return held_out_auroc(Workbench(made, texts, [(made.benign[0], harmless)]), made.sets[0], texts)


def test_what_holds_in_the_other_source_is_found() -> None:
    assert measured(source(), source()) > 0.95


def test_a_source_is_not_judged_by_what_was_fitted_on_it() -> None:
    # each of the two says the opposite of the other, so whoever had seen the judged one would do well
    assert measured(source(), source(flip=True)) < 0.3


def test_the_table_has_a_row_per_layer_and_the_mean_over_sets() -> None:
    table = sweep_table({"6": {"a": 0.5, "b": 0.75}, "all": {"a": 1.0, "b": 0.5}})
    assert table.splitlines()[::2] == ["| Block | a | b | mean |", "| 6 | 0.500 | 0.750 | 0.625 |"]
    assert table.splitlines()[-1] == "| all | 1.000 | 0.500 | 0.750 |"


def test_joined_tables_have_all_residuals_side_by_side() -> None:
    first, second = source().table, source().table
    both = joined([first, second])
    assert both.residual[:, :3] == pytest.approx(first.residual)
    assert both.residual[:, 3:] == pytest.approx(second.residual)
    assert both.row.tolist() == first.row.tolist()
