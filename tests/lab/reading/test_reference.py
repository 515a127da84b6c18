"""Reference activations of a small model: how they are written, and that anything that differs is refused at start."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from monitor.assembly.artefacts import Artefacts, ModelArtefacts, load_artefacts, load_model_artefacts
from monitor.assembly.build import build_engine, build_torch_reader
from monitor.assembly.bundle_cache import compile_artefacts
from monitor.cli.app import app
from monitor.cli.check import check
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.model.files import ModelFiles
from monitor.readers.sae_reference import REFERENCE_FILE, SaeReference
from monitor.sets.load import load_feature_sets
from tests.feature_set_factory import write_set
from tests.tiny_bundle import WIDTH, tiny_source

LATENTS = (3, 7)


@dataclass(frozen=True)
class Lab:
    """A model, an SAE, a set, and reference activations that were written by the command."""

    folder: Path
    done: Result

    @property
    def reference(self) -> Path:
        return self.folder / "sae" / REFERENCE_FILE

    @property
    def config_file(self) -> Path:
        return self.folder / "config.yaml"

    def config(self, engine: str = "torch", **reader: Any) -> Config:
        data = json.loads(self.config_file.read_text())
        return Config.model_validate(data | {"reader": data["reader"] | {"engine": engine} | reader})

    def refused(self, config: Config, artefacts: Artefacts | None = None) -> str:
        """Why an engine is not built."""
        with pytest.raises(ConfigError) as e:
            build_engine(config, artefacts or load_artefacts(config))
        return str(e.value)


def write_reference(folder: Path, *options: object) -> Result:
    arguments = ["lab", "reference", folder / "sets", "--config", folder / "config.yaml", *options]
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("reference")
    source = tiny_source(folder)
    reader = source.ref.model_dump(mode="json")
    reader["sae"]["path"] = "../sae"
    write_set(folder / "sets" / "one.yaml", reader=reader)
    settings = {"model": str(folder / "model"), "threads": 1, "precision": "fp32", "cache_dir": str(folder / "cache")}
    config = {"reader": settings, "feature_sets": {"paths": [str(folder / "sets")]}}
    (folder / "config.yaml").write_text(json.dumps(config))
    return Lab(folder, write_reference(folder))


@pytest.fixture
def lab(written: Lab, tmp_path: Path) -> Lab:
    """A copy that a test may damage."""
    for name in ("model", "sae", "sets"):
        shutil.copytree(written.folder / name, tmp_path / name)
    text = written.config_file.read_text().replace(str(written.folder), str(tmp_path))
    (tmp_path / "config.yaml").write_text(text)
    return Lab(tmp_path, written.done)


def damaged_model(lab: Lab) -> ModelArtefacts:
    """As after a conversion that went wrong: other weights under the hash of what they were made from."""
    artefacts = load_model_artefacts(lab.config())
    shutil.copytree(lab.folder / "model", lab.folder / "converted")
    path = lab.folder / "converted" / "model.safetensors"
    weights = load_file(path)
    name = next(n for n in sorted(weights) if n.endswith("layers.1.mlp.down_proj.weight"))
    source = torch.Generator().manual_seed(1)
    weights[name] += 0.2 * weights[name].std() * torch.randn(weights[name].shape, generator=source)
    save_file(weights, path, {"format": "pt"})
    return replace(artefacts, original=ModelFiles(path.parent, artefacts.model.sha256))


def test_the_command_says_what_it_wrote(written: Lab) -> None:
    assert written.done.exit_code == 0, written.done.output
    stored = SaeReference.load(written.reference)
    info, found = stored.info, stored.activations
    assert " ".join(written.done.stderr.split()).startswith(f"written: {written.reference}: 5 texts, ")
    assert f"{found.tokens.size} tokens" in written.done.stderr
    assert info.width == WIDTH
    assert set(np.unique(found.latents)) > set(LATENTS), "other sets need no other file"
    assert found.values.min() > 0
    assert written.reference.stat().st_size < 200_000
    assert written.reference.stat().st_mode & 0o777 == 0o644


def test_differences_are_measured_where_asked(lab: Lab) -> None:
    done = write_reference(lab.folder, "--measure")
    assert done.exit_code == 0, done.output
    cells = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    found = {name: float(value) for name, value in cells}
    assert found["torch in float32"] < 1e-4
    assert found["torch in bfloat16"] > found["torch in float16"] > found["torch in float32"]
    noise = [value for name, value in found.items() if name.startswith("noise of ")]
    assert noise == sorted(noise)
    assert noise[-1] > 0.05


def test_written_twice_it_is_the_same(lab: Lab) -> None:
    before = lab.reference.read_bytes()
    lab.reference.write_bytes(b"broken")
    assert write_reference(lab.folder).exit_code == 0
    assert lab.reference.read_bytes() == before


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_what_reproduces_the_reference_starts(lab: Lab, engine: str) -> None:
    config = lab.config(engine)
    artefacts = load_artefacts(config)
    assert artefacts.latents == LATENTS
    build_engine(config, artefacts)


def test_a_sidecar_in_bfloat16_starts(lab: Lab) -> None:
    config = lab.config(dtype="bfloat16")
    build_engine(config, load_artefacts(config))


def test_without_reference_activations_nothing_is_compared(lab: Lab) -> None:
    artefacts = damaged_model(lab)
    lab.reference.unlink()
    build_engine(lab.config(), artefacts)


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_a_broken_conversion_is_refused(lab: Lab, engine: str) -> None:
    message = lab.refused(lab.config(engine), damaged_model(lab))
    assert message.startswith(f"{lab.reference}: the activations of the reference texts differ by 0.")
    assert "remove the converted model and the bundles from the cache" in message
    assert "latentwatch lab reference" in message


def test_a_model_that_differs_is_not_compiled(lab: Lab) -> None:
    out = lab.folder / "bundle"
    with pytest.raises(ConfigError, match="the activations of the reference texts differ"):
        compile_artefacts(lab.config("onnx"), damaged_model(lab), out)
    assert not out.exists()


def test_a_reader_alone_is_checked_too(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="the activations of the reference texts differ"):
        build_torch_reader(lab.config(), damaged_model(lab))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_bundle_from_elsewhere_is_refused(lab: Lab, precision: Any) -> None:
    artefacts, stored = load_model_artefacts(lab.config("onnx")), lab.reference.read_bytes()
    lab.reference.unlink()
    config = lab.config("onnx", bundle=lab.folder / "bundle", precision=precision)
    compile_artefacts(lab.config("onnx"), damaged_model(lab), lab.folder / "bundle")
    build_engine(config, load_artefacts(config))
    lab.reference.write_bytes(stored)
    assert "the activations of the reference texts differ" in lab.refused(config)
    shutil.rmtree(lab.folder / "bundle")
    compile_artefacts(lab.config("onnx"), artefacts, lab.folder / "bundle")
    build_engine(config, load_artefacts(config))


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_another_template_of_the_model_is_refused(lab: Lab, engine: str) -> None:
    path = lab.folder / "model" / "chat_template.jinja"
    path.write_text(path.read_text().replace("{{ m['content'] }}", " {{ m['content'] }}"))
    message = lab.refused(lab.config(engine))
    assert message.startswith(
        f"{lab.reference}: text 0 has other tokens than when the sets were made; the chat template"
    )


def test_another_template_of_the_config_is_refused_by_check_too(lab: Lab) -> None:
    template = lab.folder / "other.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    data = json.loads(lab.config_file.read_text())
    data["reader"]["chat_template"] = str(template)
    (lab.folder / "other.yaml").write_text(json.dumps(data))
    found = {r.part: r.problems for r in check(lab.config_file, {}, 0.1)}
    assert not found["model and SAE"]
    found = {r.part: r.problems for r in check(lab.folder / "other.yaml", {}, 0.1)}
    [problem] = found["model and SAE"]
    assert "has other tokens than when the sets were made" in problem


def test_another_tokenizer_is_refused(lab: Lab) -> None:
    path = lab.folder / "model" / "tokenizer.json"
    data = json.loads(path.read_text())
    vocabulary = data["model"]["vocab"]
    vocabulary["e"], vocabulary["t"] = vocabulary["t"], vocabulary["e"]
    path.write_text(json.dumps(data))
    assert "tokenizer.json is different" in lab.refused(lab.config())


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_changed_activations_are_refused(lab: Lab, engine: str) -> None:
    stored = SaeReference.load(lab.reference)
    changed = replace(stored.activations, values=stored.activations.values * np.float32(1.02))
    replace(stored, activations=changed).save(lab.reference)
    assert re.search(r"differ by 0\.0196 of their norm, more than 0\.01 ", lab.refused(lab.config(engine)))


@pytest.mark.parametrize(
    ("key", "value"),
    [("model_sha256", "f" * 64), ("sae_sha256", "f" * 64), ("layer", 0), ("max_norm", 12.5), ("width", WIDTH + 1)],
)
def test_reference_activations_of_something_else_are_refused(lab: Lab, key: str, value: Any) -> None:
    stored = SaeReference.load(lab.reference)
    replace(stored, info=stored.info.model_copy(update={key: value})).save(lab.reference)
    message = lab.refused(lab.config())
    assert message.startswith(f"{lab.reference}: {key} is {value}, but ")
    assert message.endswith("are the right ones, run: latentwatch lab reference FOLDER")


def test_a_template_with_a_date_has_no_reference_activations(lab: Lab) -> None:
    path = lab.folder / "model" / "chat_template.jinja"
    path.write_text("{{ strftime_now('%d %b') }}" + path.read_text())
    done = write_reference(lab.folder)
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith("reader.chat_template: the chat template calls strftime_now")


def test_sets_that_are_not_there(lab: Lab) -> None:
    shutil.rmtree(lab.folder / "sets")
    done = write_reference(lab.folder)
    assert isinstance(done.exception, ConfigError)
    assert "no such file or folder" in str(done.exception)


def test_all_sets_of_a_folder_are_loaded_whatever_the_config_leaves_out(lab: Lab) -> None:
    data = json.loads(lab.config_file.read_text())
    data["feature_sets"] |= {"only": ["unsafe-code"], "overrides": {"unsafe-code": {"enabled": False}}}
    lab.config_file.write_text(json.dumps(data))
    assert write_reference(lab.folder).exit_code == 0
    assert len(load_feature_sets([str(lab.folder / "sets")])) == 1
