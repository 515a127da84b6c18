"""Artefacts: a model and an SAE, or a bundle, and what can be done with each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitor.assembly.artefacts import BundleArtefacts, ModelArtefacts, load_artefacts, load_model_artefacts
from monitor.assembly.build import find_bundle
from monitor.assembly.bundle_cache import compile_artefacts
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.readers.onnx.bundle import Bundle
from tests.feature_set_factory import write_set
from tests.tiny_bundle import LAYER, tiny_source

LATENTS = (3, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an SAE, a set that uses LATENTS, and a bundle of them."""
    folder = tmp_path_factory.mktemp("artefacts")
    source = tiny_source(folder)
    reader = source.ref.model_dump(mode="json")
    reader["sae"]["path"] = "../sae"
    write_set(folder / "sets" / "one.yaml", reader=reader)
    config = settings(folder)
    artefacts = load_model_artefacts(config)
    compile_artefacts(config, artefacts, folder / "bundle")
    return folder


def settings(folder: Path, **reader: Any) -> Config:
    data = {"model": str(folder / "model"), "threads": 1, "precision": "fp32", "cache_dir": str(folder / "cache")}
    return Config.model_validate({"reader": data | reader, "feature_sets": {"paths": [str(folder / "sets")]}})


def unwanted(_: ModelArtefacts) -> Bundle:
    raise AssertionError("nothing is compiled")


def test_a_bundle_is_read_as_it_is(folder: Path) -> None:
    artefacts = load_artefacts(settings(folder, bundle=folder / "bundle"))
    assert isinstance(artefacts, BundleArtefacts)
    assert artefacts.bundle(unwanted).folder == folder / "bundle"
    assert artefacts.latents == artefacts.columns == LATENTS


def test_a_bundle_has_no_model_to_compile_or_to_read_with_torch(folder: Path) -> None:
    artefacts = load_artefacts(settings(folder, bundle=folder / "bundle"))
    reason = r"needs the model itself; remove reader\.bundle and set reader\.model instead$"
    with pytest.raises(ConfigError, match=rf"^reader\.bundle: compiling {reason}"):
        artefacts.uncompiled("compiling")
    with pytest.raises(ConfigError, match=rf"^reader\.bundle: engine: torch {reason}"):
        artefacts.uncompiled("engine: torch")


def test_a_model_is_compiled_once(folder: Path) -> None:
    told: list[str] = []
    config = settings(folder)
    artefacts = load_artefacts(config)
    assert artefacts.uncompiled("this test") is artefacts
    first = find_bundle(config, artefacts, told.append)
    assert any(step.startswith("compiling the reader, once, into ") for step in told)
    told.clear()
    assert find_bundle(config, artefacts, told.append).folder == first.folder
    assert told == []


def test_the_model_is_loaded_whatever_bundle_the_config_names(folder: Path) -> None:
    artefacts = load_model_artefacts(settings(folder, bundle=folder / "nowhere"))
    assert artefacts.model.folder == folder / "model"
    assert artefacts.sae.d_in == 32
    assert artefacts.ref.layer == LAYER


def test_all_that_is_wrong_is_reported_at_once(folder: Path) -> None:
    with pytest.raises(ConfigError) as e:
        load_artefacts(settings(folder, model=str(folder / "nowhere")))
    assert e.value.problems == (f"reader.model: {folder / 'nowhere'}: no such folder",)
    weights = folder / "sae" / "sae_weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content + b" ")
    try:
        with pytest.raises(ConfigError) as e:
            load_artefacts(settings(folder, model=str(folder / "nowhere")))
    finally:
        weights.write_bytes(content)
    assert [problem.split(":")[0] for problem in e.value.problems] == ["reader.model", str(weights)]
