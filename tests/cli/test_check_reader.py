"""`latentwatch check` refuses the models and SAEs that a start refuses, in the same words."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import build_engine
from monitor.cli.check import CheckResult, check
from monitor.config.load import load_config
from monitor.errors import ConfigError
from monitor.model.files import file_sha256
from monitor.sae.formats.saelens import WEIGHTS_FILE
from tests.feature_set_factory import write_set
from tests.saelens import save_sae
from tests.tiny_bundle import tiny_source
from tests.tiny_model import edit_config

_FOLDER = re.compile(r"\S*/")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    tiny_source(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A model and an SAE that a test may damage."""
    return shutil.copytree(made, tmp_path / "work")


def configured(folder: Path, engine: str, layer: int = 1) -> Path:
    """A config for what is in the folder, and a set whose hashes fit."""
    weights = sorted((folder / "model").glob("*.safetensors"))
    sae = {"path": "../sae", "sha256": file_sha256(folder / "sae" / WEIGHTS_FILE), "width": 96}
    model_sha256 = file_sha256(weights[0]) if weights else "0" * 64
    reader = {"model": "tiny", "model_sha256": model_sha256, "layer": layer, "sae": sae}
    write_set(folder / "sets" / "one.yaml", reader=reader)
    config: dict[str, Any] = {
        "reader": {"model": str(folder / "model"), "engine": engine, "threads": 1, "cache_dir": str(folder / "cache")},
        "feature_sets": {"paths": [str(folder / "sets")]},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    return folder / "config.yaml"


def broken_tokenizer(folder: Path) -> None:
    (folder / "model" / "tokenizer.json").write_text("{}")


def broken_config(folder: Path) -> None:
    (folder / "model" / "config.json").write_text("{")


def strict_config(folder: Path) -> None:
    edit_config(folder / "model", layer_types=["full_attention"])


def adapter(folder: Path) -> None:
    (folder / "model" / "config.json").unlink()
    (folder / "model" / "adapter_config.json").write_text("{}")


def missing_shard(folder: Path) -> None:
    places = {"a": "model-00001-of-00002.safetensors"}
    (folder / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def missing_tensor(folder: Path) -> None:
    file = folder / "model" / "model.safetensors"
    stored = load_file(file)
    del stored["model.layers.0.mlp.up_proj.weight"]
    save_file(stored, file, metadata={"format": "pt"})


def lost_scales(folder: Path) -> None:
    file = folder / "model" / "model.safetensors"
    stored = load_file(file)
    stored["model.layers.0.mlp.up_proj.weight_scale_inv"] = torch.ones(1, 1)
    save_file(stored, file, metadata={"format": "pt"})


def quantised(folder: Path) -> None:
    edit_config(folder / "model", quantization_config={"quant_method": "awq", "bits": 4, "group_size": 16})


def other_width(folder: Path) -> None:
    shutil.rmtree(folder / "sae")
    save_sae(folder / "sae", "jumprelu", 48, 96)


def nothing(_: Path) -> None:
    pass


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (broken_tokenizer, "not a tokenizer"),
    (broken_config, "config.json"),
    (strict_config, "layer_types"),
    (adapter, "is an adapter, without the model itself"),
    (missing_shard, "missing, but model.safetensors.index.json names it"),
    (missing_tensor, "layers.0.mlp.up_proj.weight"),
    (lost_scales, "up_proj.weight_scale_inv has no place in"),
    (quantised, "weights are quantised (awq)"),
    (other_width, "the SAE reads activations of 48 channels, but the model has 32"),
]


@pytest.mark.parametrize("engine", ["onnx", "torch"])
@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_check_says_what_the_start_says(fault: Callable[[Path], None], message: str, engine: str, folder: Path) -> None:
    fault(folder)
    refused_alike(configured(folder, engine), message)


@pytest.mark.parametrize(("engine", "message"), [("onnx", "the model has blocks 0 to 2"), ("torch", "the model has 3")])
def test_a_layer_beyond_the_model(engine: str, message: str, folder: Path) -> None:
    refused_alike(configured(folder, engine, layer=3), message)


def refused_alike(file: Path, message: str) -> None:
    found = [result for result in check(file, {}, 1.0) if reading(result)]
    problems = [problem for result in found for problem in result.problems]
    config = load_config(file, {})
    with pytest.raises(ConfigError) as start:
        build_engine(config, load_artefacts(config))
    # check and start copy the tokenizer to temporary folders
    assert [_FOLDER.sub("", problem) for problem in problems] == [_FOLDER.sub("", p) for p in start.value.problems]
    assert message in problems[0]


def reading(result: CheckResult) -> bool:
    return result.part in ("model and SAE", "reader")
