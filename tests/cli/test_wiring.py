"""What run and scan build from a config."""

from __future__ import annotations

from pathlib import Path

from monitor.cli.wiring import load_sets, load_settings, make_telemetry
from monitor.config.sections import Config
from monitor.config.sinks import OtelConfig
from tests.feature_set_factory import set_data, write_set


def test_telemetry_names_the_reader_as_the_docs_say(tmp_path: Path) -> None:
    paths = {"paths": [str(write_set(tmp_path / "one.yaml"))]}
    (loaded,) = load_sets(Config.model_validate({"feature_sets": paths}))
    telemetry = make_telemetry(Config(), OtelConfig(), loaded.shipped.reader)
    found = telemetry.resource.attributes
    telemetry.shutdown()
    assert found["latentwatch.reader.model"] == set_data()["reader"]["model"]
    assert found["latentwatch.reader.model_sha256"] == set_data()["reader"]["model_sha256"]
    assert found["latentwatch.reader.layer"] == set_data()["reader"]["layer"]
    assert found["latentwatch.sae.sha256"] == set_data()["reader"]["sae"]["sha256"]


def test_options_override_the_config() -> None:
    settings = load_settings(None, device="cuda", capture_content=True)
    assert (settings.reader.device, settings.reader.engine, settings.alerts.capture_content) == ("cuda", "torch", True)
    assert load_settings(None, device="cpu").reader.engine == "onnx"
