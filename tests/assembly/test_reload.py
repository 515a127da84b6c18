"""A changed config or set comes into use between two batches, or is refused and changes nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.alerts.alert import Alert
from monitor.assembly import live_readers
from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.build import build_live_engine
from monitor.assembly.live_readers import FixedReaders
from monitor.assembly.reload import Reload, ReloadThread
from monitor.compiler.encoder_inputs import ENCODER_BIAS
from monitor.config.load import load_config
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.readers.onnx.bundle import Bundle
from monitor.readers.onnx.columns import OutputColumns
from monitor.readers.onnx.reader import OnnxReader
from monitor.sets.load import LoadedSet
from tests.config_map import ConfigMapFolder
from tests.feature_set_factory import weighted_data
from tests.reader_model import event
from tests.tiny_bundle import LATENTS, TinySource, tiny_source

NEVER, ALWAYS = 0.999999, 1e-9
# the prompt is in the prefix cache after the first event
EVENTS = [event(f"The quick brown fox {n}.", "and the lazy dog again " * 12, event_id=f"e{n}") for n in range(8)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TinySource:
    return tiny_source(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def bundle(source: TinySource) -> Bundle:
    return source.compile(source.folder / "bundle")


class Sidecar:
    """A config file and a set in a ConfigMap each, an engine for them, and what is reported."""

    def __init__(self, folder: Path, source: TinySource, bundle: Bundle, precision: str) -> None:
        self._source = source
        self.reports: list[str] = []
        self.applied: list[Config] = []
        self._settings: dict[str, Any] = {
            "reader": {"bundle": str(bundle.folder), "precision": precision},
            "feature_sets": {"paths": [str(folder / "sets")]},
        }
        self.sets = ConfigMapFolder(folder / "sets", {"one.yaml": self.set_text()})
        self.config = ConfigMapFolder(folder / "config", {"latentwatch.yaml": yaml.safe_dump(self._settings)})
        self.file = self.config.path / "latentwatch.yaml"
        self.running = self.load()
        self.live = build_live_engine(self.running, load_artefacts(self.running))
        self.reload = Reload(
            self.file,
            self.load,
            self.running,
            self.live,
            self,
            on_applied=lambda config, _: self.applied.append(config),
        )
        self.settle()

    def load(self) -> Config:
        return load_config(self.file, {})

    def config_loaded(self, config: Config, sets: Sequence[LoadedSet]) -> None:
        assert sets
        self.reports.append(config.sha256())

    def reloaded(self, outcome: str) -> None:
        self.reports.append(outcome)

    def set_text(self, name: str = "one", latents: tuple[int, ...] = LATENTS, **changes: Any) -> str:
        features = [{"index": i, "label": f"latent {i}", "label_score": 0.9, "weight": 0.1} for i in latents]
        reader = self._source.ref.model_dump()
        return yaml.safe_dump(
            weighted_data(
                **{
                    "id": name,
                    "reader": reader,
                    "features": features,
                    "threshold": NEVER,
                    "segments": ["user"],
                    **changes,
                }
            )
        )

    def write(self, **changes: Any) -> None:
        """Another version of the config file."""
        self.config.swap({"latentwatch.yaml": yaml.safe_dump({**self._settings, **changes})})

    def threshold(self, value: float) -> None:
        paths = self._settings["feature_sets"]["paths"]
        self.write(feature_sets={"paths": paths, "overrides": {"one": {"threshold": value}}})

    def settle(self) -> None:
        """As many polls as a change needs."""
        self.reload.look()
        self.reload.look()

    def alerts(self) -> list[Alert]:
        self.reload.between_batches()
        return [alert for evaluation in self.live.engine.evaluate(EVENTS) for alert in evaluation.alerts]


Start = Callable[..., Sidecar]


@pytest.fixture
def start(tmp_path: Path, source: TinySource, bundle: Bundle) -> Start:
    return lambda precision="fp32": Sidecar(tmp_path, source, bundle, precision)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_new_threshold_comes_into_use_between_batches(start: Start, precision: str) -> None:
    sidecar = start(precision)
    assert (sidecar.alerts(), sidecar.reports) == ([], [])
    sidecar.threshold(ALWAYS)
    sidecar.settle()
    assert sidecar.reports == []  # not before the loop takes it
    alerts = sidecar.alerts()
    assert len(alerts) == len(EVENTS)
    sha256 = sidecar.load().sha256()
    assert {(a.threshold, a.config_sha256) for a in alerts} == {(ALWAYS, sha256)}
    assert sidecar.reports == [sha256, "applied"]
    assert sidecar.applied == [sidecar.load()]
    sidecar.threshold(NEVER)
    sidecar.settle()
    assert sidecar.alerts() == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_new_set_with_latents_that_nothing_read_before(
    start: Start, precision: str, source: TinySource, bundle: Bundle
) -> None:
    sidecar = start(precision)
    list(sidecar.live.engine.evaluate(EVENTS))  # fills the prefix cache with activations of the old columns
    two = sidecar.set_text("two", (1, 3, 60), threshold=ALWAYS)
    files = {"one.yaml": sidecar.set_text(threshold=ALWAYS), "two.yaml": two}
    sidecar.sets.swap(files)
    sidecar.settle()
    alerts = sidecar.alerts()
    # as if it had been started with these sets
    fresh = build_live_engine(sidecar.running, load_artefacts(sidecar.running))
    expected = [alert for evaluation in fresh.engine.evaluate(EVENTS) for alert in evaluation.alerts]
    assert [(a.event.id, a.set.id) for a in alerts] == [(a.event.id, a.set.id) for a in expected]
    assert {a.set.id for a in alerts} == {"one", "two"}
    for found, wanted in zip(alerts, expected, strict=True):
        assert found.score == pytest.approx(wanted.score, abs=1e-6)
        assert [f.index for f in found.features] == [f.index for f in wanted.features]


def test_sets_in_another_folder(start: Start, tmp_path: Path) -> None:
    sidecar = start()
    other = ConfigMapFolder(tmp_path / "other", {"two.yaml": sidecar.set_text("two", threshold=ALWAYS)})
    sidecar.write(feature_sets={"paths": [str(other.path)]})
    sidecar.settle()
    sidecar.settle()  # the files of the other folder must be the same twice, too
    assert {a.set.id for a in sidecar.alerts()} == {"two"}
    other.swap({"two.yaml": sidecar.set_text("two")})
    sidecar.settle()
    assert sidecar.alerts() == []


def test_rules_and_the_allow_list_come_into_use(start: Start) -> None:
    sidecar = start()
    paths = {"paths": [str(sidecar.sets.path)]}
    rule = {"name": "loud", "when": {"topic": "*"}, "sets": {"one": {"threshold": ALWAYS}}}
    sidecar.write(feature_sets={**paths, "rules": [rule]})
    sidecar.settle()
    assert {a.rules for a in sidecar.alerts()} == {("loud",)}
    sidecar.write(feature_sets={**paths, "rules": [{**rule, "sets": {"nope": {"severity": "low"}}}]})
    sidecar.settle()
    assert {a.rules for a in sidecar.alerts()} == {("loud",)}
    assert sidecar.reports[-1] == "refused"


def test_only_what_changes_the_score_is_measured_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar = start("int8")
    reads: list[int] = []
    read_uncached = OnnxReader.read_uncached

    def counted(reader: OnnxReader, texts: Any) -> Any:
        reads.append(len(texts))
        return read_uncached(reader, texts)

    monkeypatch.setattr(OnnxReader, "read_uncached", counted)
    sidecar.threshold(ALWAYS)
    sidecar.settle()
    assert len(sidecar.alerts()) == len(EVENTS)
    assert reads == []
    sidecar.sets.swap({"one.yaml": sidecar.set_text(bias=0.5)})
    sidecar.settle()
    sidecar.alerts()
    assert sum(reads) > 0


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_new_columns_that_fail_the_self_test_are_refused(
    start: Start, precision: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar = start(precision)
    sidecar.sets.swap({"one.yaml": sidecar.set_text(threshold=ALWAYS)})
    sidecar.settle()
    before = [(a.id, a.score) for a in sidecar.alerts()]
    right = live_readers.bundle_columns

    def wrong(*arguments: Any) -> OutputColumns:
        columns = right(*arguments)
        return replace(columns, inputs={**columns.inputs, ENCODER_BIAS: columns.inputs[ENCODER_BIAS] + 1})

    monkeypatch.setattr(live_readers, "bundle_columns", wrong)
    sidecar.sets.swap({"two.yaml": sidecar.set_text("two", (1, 60), threshold=ALWAYS)})
    sidecar.settle()
    assert [(a.id, pytest.approx(a.score)) for a in sidecar.alerts()] == before
    assert sidecar.reports[-1] == "refused"
    assert "self-test in fp32: activations of the reference texts differ by" in caplog.text
    sidecar.threshold(ALWAYS)
    sidecar.sets.swap({"one.yaml": sidecar.set_text(threshold=NEVER)})
    sidecar.settle()
    assert len(sidecar.alerts()) == len(before)


BAD: dict[str, tuple[Callable[[Sidecar], None], str]] = {
    "not_yaml": (lambda s: s.config.swap({"latentwatch.yaml": "a: [b"}), "latentwatch.yaml:2: "),
    "unknown_key": (lambda s: s.write(feature_set={}), "feature_set: unknown key"),
    "no_file": (lambda s: s.config.swap({"other.yaml": ""}), "latentwatch.yaml: cannot be read: No such file"),
    "restart": (
        lambda s: s.write(kafka={"bootstrap_servers": "elsewhere:9092", "client_id": "x"}, health={"port": 1}),
        "kafka.bootstrap_servers: changed, and only a restart can change it",
    ),
    "set": (lambda s: s.sets.swap({"one.yaml": s.set_text(severity="grave")}), "one.yaml: severity: "),
    "reader": (
        lambda s: s.sets.swap({"one.yaml": s.set_text(reader={**s.live.artefacts.ref.model_dump(), "layer": 0})}),
        "one.yaml: reader: differs from that of the running sets",
    ),
    "no_set": (lambda s: s.sets.swap({}), "no *.yaml or *.yml in this folder"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_version_is_refused_and_the_old_one_stays(
    fault: str, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    sidecar = start()
    sidecar.threshold(ALWAYS)
    sidecar.settle()
    before = [a.config_sha256 for a in sidecar.alerts()]
    sidecar.reports.clear()
    break_it, problem = BAD[fault]
    break_it(sidecar)
    for _ in range(3):
        sidecar.settle()
    assert problem in caplog.text
    assert f"refused; config {before[0][:16]} stays in use" in caplog.text
    assert "elsewhere" not in caplog.text
    assert sidecar.reports == ["refused"]  # once, however often it is looked at
    assert [a.config_sha256 for a in sidecar.alerts()] == before
    sidecar.sets.swap({"one.yaml": sidecar.set_text()})
    sidecar.threshold(ALWAYS)
    sidecar.settle()
    assert sidecar.reports == ["refused", "unchanged"]


def test_half_of_a_change_is_read_again(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    sidecar = start()
    loads: list[None] = []

    def load() -> Config:
        loads.append(None)
        if len(loads) == 1:
            sidecar.threshold(ALWAYS)  # the writer goes on
            raise ConfigError("half a file")
        return sidecar.load()

    sidecar.reload._load = load
    sidecar.threshold(0.9)
    sidecar.settle()
    sidecar.settle()
    assert {a.threshold for a in sidecar.alerts()} == {ALWAYS}
    assert "half a file" not in caplog.text


def test_the_torch_reader_takes_no_other_features(start: Start) -> None:
    sidecar = start()
    artefacts = sidecar.live.artefacts
    assert FixedReaders(artefacts.columns).prepare(artefacts).columns == artefacts.columns
    with pytest.raises(ConfigError, match=r"^feature_sets: sets that use other features need a restart"):
        FixedReaders(artefacts.columns[1:]).prepare(artefacts)


def test_the_thread_looks_by_itself_and_when_asked(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sidecar = start()
    told = threading.Event()
    sidecar.reloaded = lambda _: told.set()  # type: ignore[method-assign]
    asked = threading.Event()
    thread = ReloadThread(sidecar.reload, asked, poll_s=600)
    asked.set()
    assert told.wait(60)
    thread.close()
    assert "config and feature sets are those in use" in caplog.text
    thread = ReloadThread(sidecar.reload, threading.Event(), poll_s=0.01)
    sidecar.threshold(ALWAYS)
    while not sidecar.alerts():
        pass
    thread.close()
