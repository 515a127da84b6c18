"""Verification of a bundle: what it measures stands in the manifest, and `auto` obeys it."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any

import pytest

from monitor.assembly import build
from monitor.assembly.artefacts import BundleArtefacts
from monitor.assembly.build import load_readers
from monitor.assembly.compiled_reader import open_reader
from monitor.assembly.verify import verify
from monitor.compiler.compile import write_manifest
from monitor.config.sections import Config
from monitor.readers.onnx.bundle import load_bundle
from monitor.readers.onnx.reader import OnnxReader
from tests.tiny_bundle import calibration_events, tiny_source


def test_what_was_measured_is_in_the_manifest_and_auto_obeys_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tiny_source(tmp_path / "source")
    bundle = source.compile(tmp_path / "bundle")
    config, steps = Config.model_validate({"reader": {"threads": 1}}), list[str]()
    artefacts = BundleArtefacts((source.feature_set(),), bundle)
    found = verify(config, artefacts, bundle, calibration_events(12), steps.append)
    assert steps == ["scoring 12 events in fp32", "scoring 12 events in int8"]
    result = load_bundle(bundle.folder).manifest.verification
    assert result is not None
    assert result == found.manifest.verification
    assert (result.events, set(result.sets), set(result.auroc_loss)) == (12, {"one"}, {"one"})
    assert result.agreement >= result.raw_agreement
    assert 0 < result.residual_fvu < 0.1

    refused = result.model_copy(update={"accepted": False})
    write_manifest(bundle.folder, bundle.manifest.model_copy(update={"verification": refused}))
    bundle = load_bundle(bundle.folder)
    with caplog.at_level(logging.INFO):
        assert load_readers(config, bundle, artefacts).exact is None
    assert "reading in fp32: when the bundle was verified, int8 decided otherwise than fp32 too often" in caplog.text
    asked = config.changed(reader=config.reader.changed(precision="int8"))
    assert load_readers(asked, bundle, artefacts).exact is not None


def test_no_graph_of_int8_stays_in_memory_if_only_fp32_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_source(tmp_path / "source")
    bundle = source.compile(tmp_path / "bundle")
    monkeypatch.setattr(build, "MIN_GAIN", float("inf"))
    opened: list[weakref.ref[OnnxReader]] = []
    still_there: list[int] = []

    def counting(*args: Any, **options: Any) -> OnnxReader:
        still_there.append(sum(reader() is not None for reader in opened))
        reader = open_reader(*args, **options)
        opened.append(weakref.ref(reader))
        return reader

    monkeypatch.setattr(build, "open_reader", counting)
    config = Config.model_validate({"reader": {"threads": 1}})
    assert load_readers(config, bundle, BundleArtefacts((source.feature_set(),), bundle)).exact is None
    assert still_there == [0, 1, 0]
