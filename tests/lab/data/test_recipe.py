"""The recipes of the shipped sets."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
from pydantic import ValidationError

from monitor.errors import ConfigError
from monitor.lab.data.recipe import SourceUse, load_recipes
from monitor.lab.fit.make_sets import source_rows
from monitor.sets.load import load_feature_sets

SHIPPED = Path(str(resources.files("monitor.lab.data").joinpath("recipes.yaml")))


def test_the_shipped_recipes_made_the_shipped_sets() -> None:
    recipes = load_recipes(SHIPPED)
    sets = {loaded.set.id: loaded.set for loaded in load_feature_sets(["builtin:smollm2-135m-instruct"])}
    assert {r.id for r in recipes.sets} == set(sets)
    for recipe in recipes.sets:
        used = sets[recipe.id]
        assert (used.version, used.title, used.definition) == (recipe.version, recipe.title, recipe.definition)
        assert (used.segments, used.combine_segments) == (recipe.segments, recipe.combine_segments)
        assert (used.severity, used.known_gaps) == (recipe.severity, recipe.known_gaps)
        assert used.pooling.prior_tokens == recipes.prior_tokens
        assert len(used.features) <= (recipe.keep or recipes.keep)


def test_no_text_sets_a_threshold_and_measures_it() -> None:
    recipes = load_recipes(SHIPPED)
    uses = [(u.file, u.source, u.role, u.part) for u in recipes.benign]
    for file, source, role, part in uses:
        for other_file, other_source, other_role, other_part in uses:
            if role != other_role and file == other_file:
                apart = part[1] <= other_part[0] or other_part[1] <= part[0]
                different = not (source.startswith(other_source) or other_source.startswith(source))
                assert apart or different, f"{file} is used for {role} and {other_role}"


def test_rows_outside_a_definition_are_skipped(tmp_path: Path) -> None:
    rows = [
        {"id": f"{kind}-{n}", "response": "some text", "label": n % 2} for n in range(20) for kind in ("lie", "harm")
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    use = SourceUse.model_validate({"file": "rows.jsonl", "family": "a", "only": "^lie-"})
    assert [r.id for r in source_rows(use, [tmp_path], None)] == [f"lie-{n}" for n in range(20)]
    assert len(source_rows(use, [tmp_path], 7)) == 7
    with pytest.raises(ValidationError, match="only"):
        SourceUse.model_validate({"file": "rows.jsonl", "family": "a", "only": "("})


def test_every_fault_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipes.yaml"
    path.write_text(SHIPPED.read_text().replace("severity: low", "severity: tiny").replace("keep:", "kept:"))
    with pytest.raises(ConfigError) as e:
        load_recipes(path)
    assert any("severity" in p for p in e.value.problems)
    assert any("kept" in p for p in e.value.problems)
