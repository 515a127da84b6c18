"""The recipe file of `lab train`: what it accepts, what it says of faults, and that every key is documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from monitor.errors import ConfigError
from monitor.lab.sae_training.training_recipe import StreamRecipe, TrainingRecipe, load_training_recipe

DOCS = (Path(__file__).parents[3] / "docs" / "lab-training.md").read_text(encoding="utf-8")
GOOD = {"layer": 3, "data": "activations", "tokens": 10_000, "batch": 1_000, "buffer": 4_000}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "sae.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def test_tokens_become_steps(tmp_path: Path) -> None:
    recipe = load_training_recipe(written(tmp_path), {})
    assert recipe.total_steps == 10
    assert recipe.sae().total_steps == 10
    assert "data" not in recipe.sae().model_dump(), "where the data lies is no part of what decides the result"


def test_options_override_the_file(tmp_path: Path) -> None:
    stream = {"sources": ["texts"]}
    path = written(tmp_path, data=None, stream=stream, tokens=None, steps=5)
    recipe = load_training_recipe(path, {"data": Path("other"), "tokens": 3_000, "seed": 7, "device": "cuda"})
    assert (recipe.data, recipe.stream) == (Path("other"), None)
    assert (recipe.total_steps, recipe.seed, recipe.device) == (3, 7, "cuda")


def test_numbers_in_scientific_notation(tmp_path: Path) -> None:
    path = tmp_path / "sae.yaml"
    path.write_text("layer: 1\ndata: x\nsteps: 1\nlr: 8e-4\n")  # YAML 1.1 reads 8e-4 as text
    assert load_training_recipe(path, {}).lr == 8e-4


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"k": 0, "lr": -1}, ["k: Input should be greater than or equal to 1", "lr: Input should be greater than 0"]),
        ({"learning_rate": 1}, ["learning_rate: unknown key"]),
        ({"steps": 3}, ["recipe: give either steps or tokens"]),
        ({"tokens": None}, ["recipe: give either steps or tokens"]),
        ({"data": None}, ["recipe: give either data or stream"]),
        ({"k": 65, "width": 64}, ["recipe: k is 65, but width is only 64"]),
        ({"buffer": 1_999}, ["recipe: buffer is 1999, but it must be at least twice batch, 2000"]),
        (
            {"arch": "matryoshka", "width": 64, "widths": [8, 8, 64]},
            ["recipe: widths are [8, 8, 64], but they must ascend and end with width, 64"],
        ),
        ({"data": None, "stream": {"sources": []}}, ["stream.sources: Tuple should have at least 1 item"]),
    ],
)
def test_every_fault_names_file_key_and_rule(changes: dict[str, object], problems: list[str], tmp_path: Path) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load_training_recipe(path, {})
    assert len(caught.value.problems) == len(problems)
    for found, expected in zip(caught.value.problems, problems, strict=True):
        assert found.startswith(f"{path}: {expected}")


def test_nested_widths_have_a_default() -> None:
    recipe = TrainingRecipe.model_validate({**GOOD, "arch": "matryoshka", "width": 64})
    assert recipe.nested_widths == (4, 16, 64)


def _rows(model: type[BaseModel], prefix: str = "") -> list[str]:
    rows = []
    for name, info in model.model_fields.items():
        default = info.default if isinstance(info.default, str) else json.dumps(info.default, default=str)
        default = "" if info.is_required() or info.default in (None, ()) else f"`{default}`"
        rows.append(f"| `{prefix}{name}` | {default} | {info.description} |")
    return rows


def test_every_key_is_documented_with_its_default() -> None:
    expected = [*_rows(TrainingRecipe), *_rows(StreamRecipe, "stream.")]
    documented = [line for line in DOCS.splitlines() if line.startswith("| `") and line.split("`")[1] in _keys()]
    assert documented == expected


def _keys() -> set[str]:
    return {*TrainingRecipe.model_fields, *(f"stream.{name}" for name in StreamRecipe.model_fields)}
