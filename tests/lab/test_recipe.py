"""The recipes that the shipped sets were made by."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from monitor.errors import ConfigError
from monitor.feature_set_files import load_feature_sets
from monitor.lab.recipe import load_recipes

SHIPPED = Path(str(resources.files("monitor.lab").joinpath("recipes.yaml")))


def test_the_shipped_recipes_made_the_shipped_sets() -> None:
    recipes = load_recipes(SHIPPED)
    sets = {loaded.set.id: loaded.set for loaded in load_feature_sets(["builtin:smollm2-135m-instruct"])}
    assert {r.id for r in recipes.sets} == set(sets)
    for recipe in recipes.sets:
        used = sets[recipe.id]
        assert (used.version, used.title, used.definition) == (recipe.version, recipe.title, recipe.definition)
        assert used.segments == recipe.segments
        assert used.pooling.prior_tokens == recipes.prior_tokens
        assert len(used.features) <= recipes.keep


def test_no_text_sets_a_threshold_and_measures_it() -> None:
    recipes = load_recipes(SHIPPED)
    uses = [(u.file, u.source, u.role, u.part) for u in recipes.benign]
    for file, source, role, part in uses:
        for other_file, other_source, other_role, other_part in uses:
            if role != other_role and file == other_file:
                apart = part[1] <= other_part[0] or other_part[1] <= part[0]
                different = not (source.startswith(other_source) or other_source.startswith(source))
                assert apart or different, f"{file} is used for {role} and {other_role}"


def test_every_fault_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipes.yaml"
    path.write_text(SHIPPED.read_text().replace("severity: low", "severity: tiny").replace("keep:", "kept:"))
    with pytest.raises(ConfigError) as e:
        load_recipes(path)
    assert any("severity" in p for p in e.value.problems)
    assert any("kept" in p for p in e.value.problems)
