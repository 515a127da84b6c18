"""The package that CONTRIBUTING.md shows, installed: its event format, sink, detector and SAE format at work."""

from __future__ import annotations

import json
import re
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from detectors.detector import DETECTORS, scale_of
from detectors.scale import Scale
from monitor.alerts.alert import Alert
from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import build_engine
from monitor.config.load import load_config
from monitor.config.sections import Config
from monitor.config.sinks import SINKS, OtelConfig
from monitor.errors import BadEvent, ConfigError
from monitor.events.event import Origin, Record
from monitor.events.parse import EVENT_FORMATS, parse
from monitor.model.files import file_sha256
from monitor.pipeline import Delivery, Pipeline
from monitor.report.flagged_event import flagged_events
from monitor.report.terminal import EventInFull
from monitor.sae.sae_format import SAE_FORMATS
from monitor.sinks.jsonl import JsonlDeadLetters
from monitor.sinks.open import open_sinks
from monitor.sinks.sink import SinkContext
from monitor.sinks.status import SinkStatus
from monitor.sources.file import FileSource
from monitor.telemetry.health import Health
from monitor.telemetry.telemetry import Telemetry
from tests.feature_set_factory import write_set
from tests.plugin_package import installed, write_package
from tests.tiny_bundle import LAYER, TinySource, tiny_source

PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
WIDTH = 64
LATENTS = (3, 5, 41)
CALLS = [
    {"call_id": f"call-{n}", "question": f"What about fox {n}?", "answer": "The quick brown fox jumps. " * n}
    for n in range(1, 4)
]


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Installs the files of the page."""
    (project,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    files = dict(re.findall(r"^`(acme_watch/\w+\.py)`.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
    assert len(files) == 4
    about: dict[str, Any] = tomllib.loads(project)["project"]
    site = tmp_path / "site"
    write_package(site, about["name"], about["entry-points"], files | {"acme_watch/__init__.py": ""})
    for registry in (EVENT_FORMATS, SINKS, DETECTORS, SAE_FORMATS):
        monkeypatch.setattr(registry, "_loaded", {})
    with installed(site):
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TinySource:
    return tiny_source(tmp_path_factory.mktemp("tiny"))


def save_npz(folder: Path) -> Path:
    """A random SAE as acme_npz stores them."""
    folder.mkdir(parents=True)
    source = np.random.default_rng(5)
    shapes = {"w_enc": (32, WIDTH), "b_enc": (WIDTH,), "b_dec": (32,)}
    np.savez(folder / "sae.npz", **{name: source.normal(size=shape) for name, shape in shapes.items()})
    return folder / "sae.npz"


def write_config(folder: Path, model: TinySource) -> Path:
    """A feature set and a config that use all of the package."""
    weights = save_npz(folder / "sae")
    sae = {"format": "acme_npz", "path": "sae", "sha256": file_sha256(weights), "width": WIDTH}
    write_set(
        folder / "loud.yaml",
        id="loud",
        reader={"model": "tiny", "model_sha256": model.model.sha256, "layer": LAYER, "sae": sae},
        detector="acme_loudest",
        features=[{"index": i, "label": f"latent {i}"} for i in LATENTS],
        threshold=1e-3,
    )
    path = folder / "config.yaml"
    reader = {"model": str(model.model.folder), "precision": "fp32", "threads": 1, "cache_dir": str(folder / "cache")}
    config = {
        "reader": reader,
        "feature_sets": {"paths": [str(folder / "loud.yaml")]},
        "events": {"format": "acme_call"},
        "sinks": {
            "kafka": {"enabled": False},
            "jsonl": {"enabled": True, "path": str(folder / "alerts.jsonl")},
            "acme_notes": {"enabled": True, "path": str(folder / "notes.txt")},
        },
    }
    path.write_text(yaml.safe_dump(config))
    return path


def run(config: Config, events: Path) -> None:
    """The sidecar's loop over a file."""
    telemetry = Telemetry(OtelConfig(), "0", {})
    health = Health(300)
    sinks = open_sinks(config.sinks, SinkContext(config.kafka, telemetry), SinkStatus(telemetry, health))
    letters = JsonlDeadLetters(events.with_suffix(".bad"))
    source = FileSource(str(events), config.events.max_bytes)
    try:
        delivery = Delivery(sinks, letters, config.events.limits, config.events.format)
        engine = build_engine(config, load_artefacts(config))
        Pipeline(source, engine, delivery, telemetry, health, threading.Event()).run()
    finally:
        for opened in (*sinks, letters, source):
            opened.close()
        telemetry.shutdown()


def test_an_event_passes_through_all_four(tmp_path: Path, model: TinySource) -> None:
    config = load_config(write_config(tmp_path, model), {})
    events = tmp_path / "calls.jsonl"
    events.write_text("".join(json.dumps(call) + "\n" for call in [*CALLS, {"id": "native", "prompt": "hi"}]))
    run(config, events)
    alerts = [Alert.from_json(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert [(alert.event.id, alert.detector, alert.unit) for alert in alerts] == [
        (call["call_id"], "acme_loudest", "loudness") for call in CALLS
    ]
    notes = (tmp_path / "notes.txt").read_text().splitlines()
    assert notes == [f"medium loud {call['call_id']}" for call in CALLS]
    (bad,) = (json.loads(line) for line in (tmp_path / "calls.bad").read_text().splitlines())
    assert (bad["path"], bad["reason"]) == ("$.call_id", "field required")


def test_views_show_the_scores_of_its_detector(tmp_path: Path) -> None:
    from rich.console import Console

    from tests.alert_factory import make_alert

    assert scale_of("acme_loudest", "loudness") == Scale("loudness", "loudness")
    console = Console(width=100, record=True, file=(tmp_path / "shown").open("w"))
    (event,) = flagged_events([make_alert(detector="acme_loudest", unit="loudness", score=2.5, threshold=1.5)])
    console.print(EventInFull(event))
    assert "2.50/1.50 loudness" in console.export_text()
    console.file.close()


def test_its_config_is_checked_by_its_own_model(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    sinks = {"acme_notes": {"enabled": True, "paths": "x"}, "acme_note": {"enabled": True}, "jsonl": {"fsync": "?"}}
    path.write_text(yaml.safe_dump({"sinks": sinks, "events": {"format": "acme_calls"}}))
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    formats = ", ".join((*EVENT_FORMATS.built_in, "acme_call"))
    assert sorted(problem.removeprefix(f"{path}: ") for problem in caught.value.problems) == [
        f"events.format: no event format is called 'acme_calls'; there are {formats}",
        f"sinks.acme_note: no sink is called 'acme_note'; there are {', '.join((*SINKS.built_in, 'acme_notes'))}",
        "sinks.acme_notes.path: Field required",
        "sinks.acme_notes.paths: unknown key",
        "sinks.jsonl.fsync: Input should be a valid boolean, unable to interpret input",
    ]


def test_variables_reach_its_config(tmp_path: Path) -> None:
    env = {"LATENTWATCH__SINKS__ACME_NOTES__ENABLED": "true", "LATENTWATCH__SINKS__ACME_NOTES__PATH": "notes.txt"}
    config = load_config(None, env)
    assert [*config.sinks.enabled()] == ["kafka", "acme_notes"]
    assert config != Config()
    assert Config.model_validate(config.model_dump()) == config


def test_its_detector_refuses_a_set_in_the_loader_s_words(tmp_path: Path, model: TinySource) -> None:
    path = write_config(tmp_path, model)
    data = yaml.safe_load((tmp_path / "loud.yaml").read_text())
    del data["threshold"]
    (tmp_path / "loud.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError) as caught:
        load_artefacts(load_config(path, {}))
    assert str(caught.value) == f"{tmp_path / 'loud.yaml'}: detector: acme_loudest needs a threshold"


def test_its_sae_format_refuses_a_broken_file(tmp_path: Path, model: TinySource) -> None:
    path = write_config(tmp_path, model)
    np.savez(tmp_path / "sae" / "sae.npz", w_enc=np.zeros((32, WIDTH)))
    data = yaml.safe_load((tmp_path / "loud.yaml").read_text())
    data["reader"]["sae"]["sha256"] = file_sha256(tmp_path / "sae" / "sae.npz")
    (tmp_path / "loud.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match=r"sae\.npz: .*b_enc"):
        load_artefacts(load_config(path, {}))


def test_auto_tries_only_built_in_formats() -> None:
    record = Record(json.dumps(CALLS[0]).encode(), Origin("t", 0, 0))
    assert EVENT_FORMATS.load("acme_call").recognises(CALLS[0])
    assert parse(record, wire_format="acme_call")[0].id == "call-1"
    with pytest.raises(BadEvent, match="not a format that is read"):
        parse(record)
