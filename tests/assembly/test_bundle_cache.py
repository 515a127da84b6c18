"""Bundles in the cache: one for all sets and settings, made again only if it is damaged."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from monitor.assembly.artefacts import ModelArtefacts, load_model_artefacts
from monitor.assembly.build import build_engine
from monitor.assembly.bundle_cache import cached_bundle, cached_folder
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.readers.onnx.bundle import GRAPHS
from tests.feature_set_factory import write_set
from tests.reader_model import event
from tests.tiny_bundle import tiny_source
from tests.tiny_model import edit_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an SAE and two sets over different latents."""
    folder = tmp_path_factory.mktemp("cached")
    reader = tiny_source(folder).ref.model_dump(mode="json")
    reader["sae"]["path"] = "../sae"
    for name, index in (("one", 3), ("two", 41)):
        features = [{"index": index, "label": "a latent", "threshold": 2.5}]
        write_set(folder / "sets" / f"{name}.yaml", id=name, reader=reader, features=features)
    return folder


def settings(folder: Path, cache: Path, **sections: Any) -> Config:
    reader = {"model": str(folder / "model"), "threads": 1, "cache_dir": str(cache)} | sections.pop("reader", {})
    sets = {"paths": [str(folder / "sets")]} | sections.pop("feature_sets", {})
    return Config.model_validate({"reader": reader, "feature_sets": sets, **sections})


def told(config: Config, artefacts: ModelArtefacts | None = None) -> list[str]:
    """The steps until there is a bundle."""
    steps: list[str] = []
    cached_bundle(config, artefacts or load_model_artefacts(config), steps.append)
    return steps


def test_sets_thresholds_and_precision_share_one_bundle(folder: Path, tmp_path: Path) -> None:
    assert told(settings(folder, tmp_path))[0].startswith("compiling the reader, once, into ")
    override = {"one": {"features": {3: {"threshold": 0.1}}}}
    for changed in (
        settings(folder, tmp_path, feature_sets={"only": ["two"]}),
        settings(folder, tmp_path, feature_sets={"overrides": override}),
        settings(folder, tmp_path, feature_sets={"overrides": {"two": {"enabled": False}}}),
        settings(folder, tmp_path, reader={"precision": "fp32"}),
        settings(folder, tmp_path, alerts={"capture_content": True}),
    ):
        assert told(changed) == []
        engine = build_engine(changed, load_model_artefacts(changed))
        assert len(list(engine.evaluate([event("The quick brown fox", "Well?")]))) == 1


def test_another_template_is_another_bundle(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_text("{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}")
    plain = settings(folder, tmp_path)
    other = settings(folder, tmp_path, reader={"chat_template": str(tmp_path / "t.jinja")})
    artefacts = load_model_artefacts(plain)
    assert cached_folder(plain, artefacts) != cached_folder(other, artefacts)


def test_a_changed_config_of_the_model_is_another_bundle(tmp_path: Path) -> None:
    """The weights are the same, but what is read with them is not."""
    reader = tiny_source(tmp_path).ref.model_dump(mode="json")
    reader["sae"]["path"] = "../sae"
    write_set(tmp_path / "sets" / "one.yaml", reader=reader)
    config = settings(tmp_path, tmp_path / "cache")
    before = cached_folder(config, load_model_artefacts(config))
    assert cached_folder(config, load_model_artefacts(config)) == before
    edit_config(tmp_path / "model", rms_norm_eps=0.01)
    after = cached_folder(config, load_model_artefacts(config))
    assert before != after
    (tmp_path / "model" / "special_tokens_map.json").write_text('{"bos_token": "<|user|>"}')
    assert cached_folder(config, load_model_artefacts(config)) not in (before, after)


def test_a_damaged_bundle_is_made_again(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = settings(folder, tmp_path)
    told(config)
    path = cached_folder(config, load_model_artefacts(config)) / GRAPHS["int8"]
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert told(config)[0].startswith("compiling the reader")
    assert "the cached bundle is damaged and is compiled again" in caplog.text
    assert told(config) == []
    path.write_bytes(path.read_bytes()[:-1])
    given = settings(folder, tmp_path, reader={"bundle": str(path.parent)})
    from monitor.assembly.artefacts import load_artefacts

    with pytest.raises(ConfigError, match=rf"^{path}: was changed after the bundle was compiled$"):
        load_artefacts(given)  # one that the config names is never replaced


def test_a_bundle_in_use_is_not_evicted_by_its_own_process(folder: Path, tmp_path: Path) -> None:
    config = settings(folder, tmp_path)
    engine = build_engine(config, load_model_artefacts(config))
    made = cached_folder(config, load_model_artefacts(config))
    from monitor.assembly.cache_folder import CacheFolder

    cache = CacheFolder(made.parent)
    assert not cache.remove(made)
    del engine
    import gc

    gc.collect()
    assert cache.remove(made)


def test_a_cache_that_is_a_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^reader\.cache_dir: .*/file/bundles: .*; a compiled reader takes about"):
        told(settings(folder, tmp_path / "file"))


def test_a_disk_that_is_full(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("monitor.compiler.compile.store_sae", full)
    with pytest.raises(ConfigError, match=r"^reader\.cache_dir: .*: No space left on device; a compiled reader takes"):
        told(settings(folder, tmp_path))
    assert list((tmp_path / "bundles").iterdir()) == []
