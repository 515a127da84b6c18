"""`latentwatch check` against real ports, files, receivers and a small model: every fault is named, nothing changes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor.assembly.artefacts import load_model_artefacts
from monitor.assembly.bundle_cache import cached_bundle, cached_folder
from monitor.cli.app import app
from monitor.cli.check import CheckResult, check
from monitor.config.load import load_config
from monitor.machine import Limits
from monitor.model.files import file_sha256
from monitor.sets.load import LoadedSet, load_feature_set
from tests.brokers import free_ports
from tests.feature_set_factory import write_set
from tests.http_receiver import HttpReceiver
from tests.kafka.registry_server import schema_registry
from tests.model.gguf.small_gguf import make_package
from tests.otlp_receiver import OtlpReceiver
from tests.tiny_bundle import tiny_source

NOBODY = 65_534


@dataclass
class Sidecar:
    """A config file that may be changed, and what `check` says about it."""

    file: Path
    data: dict[str, Any]

    def results(self, **sections: Any) -> dict[str, CheckResult]:
        self.file.write_text(json.dumps(self.data | sections))
        return {result.part: result for result in check(self.file, {}, 1.0)}

    def problem(self, part: str, **sections: Any) -> str:
        """The only problem of that part."""
        (problem,) = self.results(**sections)[part].problems
        return problem


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, an SAE and a set."""
    folder = tmp_path_factory.mktemp("small")
    reader = tiny_source(folder).ref.model_dump(mode="json")
    reader["sae"]["path"] = "../sae"
    write_set(folder / "sets" / "one.yaml", reader=reader)
    return folder


@pytest.fixture
def reading(small: Path, tmp_path: Path) -> Sidecar:
    """A sidecar that reads with the small model; its cache is empty."""
    reader = {"model": str(small / "model"), "threads": 1, "precision": "fp32", "cache_dir": str(tmp_path / "cache")}
    return Sidecar(tmp_path / "config.yaml", {"reader": reader, "feature_sets": {"paths": [str(small / "sets")]}})


@pytest.fixture
def sidecar(tmp_path: Path) -> Sidecar:
    """A sidecar without feature sets."""
    return Sidecar(tmp_path / "config.yaml", {"feature_sets": {"paths": [str(tmp_path / "none")]}})


# ---- health port


def test_a_free_health_port(sidecar: Sidecar) -> None:
    (port,) = free_ports(1)
    health = {"host": "127.0.0.1", "port": port}
    for _ in range(2):  # it is free again after the check
        assert sidecar.results(health=health)["health port"].detail == f"127.0.0.1:{port} is free"
    assert "health port" not in sidecar.results(health={"enabled": False})


def test_a_health_port_in_use(sidecar: Sidecar) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        problem = sidecar.problem("health port", health={"host": "127.0.0.1", "port": port})
    assert problem == (
        f"health.port: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another port or host, or stop what uses it"
    )


def test_a_health_host_that_does_not_exist(sidecar: Sidecar) -> None:
    problem = sidecar.problem("health port", health={"host": "no.such.host.invalid"})
    assert problem.startswith("health.host: no.such.host.invalid: ")


# ---- alert file


def alerts_to(path: Path) -> dict[str, Any]:
    return {"sinks": {"jsonl": {"enabled": True, "path": str(path)}}}


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that this process may not write in, whoever runs the tests."""
    folder = Path(tempfile.mkdtemp())
    (folder / "old.jsonl").write_text("")
    (folder / "old.jsonl").chmod(0o444)
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(user)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_an_alert_file_that_can_be_written(sidecar: Sidecar, tmp_path: Path) -> None:
    existing = tmp_path / "old.jsonl"
    existing.write_text("{}\n")
    for path in (existing, tmp_path / "new.jsonl", tmp_path / "a" / "b" / "new.jsonl"):
        assert sidecar.results(**alerts_to(path))["alert file"].detail == f"{path} can be written"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "old.jsonl"]
    assert existing.read_text() == "{}\n"


def test_an_alert_file_that_is_a_folder(sidecar: Sidecar, tmp_path: Path) -> None:
    assert sidecar.problem("alert file", **alerts_to(tmp_path)) == (
        f"sinks.jsonl.path: {tmp_path}: is a folder; name a file in it"
    )


def test_an_alert_file_below_a_file(sidecar: Sidecar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert sidecar.problem("alert file", **alerts_to(tmp_path / "file" / "alerts.jsonl")) == (
        f"sinks.jsonl.path: {tmp_path}/file/alerts.jsonl: {tmp_path}/file is not a folder"
    )


def test_alert_files_without_permission(locked: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sidecar = Sidecar(Path(folder) / "config.yaml", {"feature_sets": {"paths": [f"{folder}/none"]}})
        for path in (locked / "new.jsonl", locked / "below" / "new.jsonl"):
            assert sidecar.problem("alert file", **alerts_to(path)) == (
                f"sinks.jsonl.path: {path}: no permission to write in {locked}"
            )
        assert sidecar.problem("alert file", **alerts_to(locked / "old.jsonl")) == (
            f"sinks.jsonl.path: {locked}/old.jsonl: no permission to read and write this file"
        )


# ---- schema registry


def test_a_schema_registry(sidecar: Sidecar) -> None:
    with schema_registry() as registry:
        events = {"schema_registry_url": registry.url}
        assert sidecar.results(events=events)["schema registry"].detail == f"{registry.url} answers"
        registry.answer = (401, b"{}")
        assert sidecar.problem("schema registry", events=events).endswith(f"{registry.url}: HTTP 401")
    assert "schema registry" not in sidecar.results()


# ---- OTLP receiver


def alerts_over(url: str, **otel: Any) -> dict[str, Any]:
    return {"sinks": {"otel": {"enabled": True, "endpoint": url, "timeout_s": 0.5, **otel}}}


def test_a_receiver_that_takes_everything(sidecar: Sidecar, tmp_path: Path) -> None:
    headers = tmp_path / "headers"
    headers.write_text("authorization: Bearer one\n")
    with OtlpReceiver() as receiver:
        result = sidecar.results(**alerts_over(receiver.url, headers_file=str(headers)))["OTLP receiver"]
    assert (result.problems, result.detail) == ((), f"{receiver.url} takes logs, traces and metrics")
    assert [(path, body) for path, _, body in receiver.requests] == [
        ("/v1/logs", b""),
        ("/v1/traces", b""),
        ("/v1/metrics", b""),
    ]
    assert all(sent["authorization"] == "Bearer one" for _, sent, _ in receiver.requests)


def test_a_receiver_that_does_not_listen(sidecar: Sidecar) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    assert sidecar.problem("OTLP receiver", **alerts_over(url)).startswith(
        f"sinks.otel.endpoint: {url}/v1/logs: Connection refused; check that "
    )


def test_a_receiver_that_refuses(sidecar: Sidecar) -> None:
    with OtlpReceiver() as receiver:
        receiver.status = 401
        problem = sidecar.problem("OTLP receiver", **alerts_over(receiver.url))
    assert problem.startswith(f"sinks.otel.endpoint: {receiver.url}/v1/logs: HTTP 401 Unauthorized; ")


def test_what_is_wrong_with_otel_before_anything_is_sent(sidecar: Sidecar, tmp_path: Path) -> None:
    found = sidecar.results(**alerts_over("collector:4318", headers_file=str(tmp_path / "no")))["OTLP receiver"]
    assert found.problems == (
        "sinks.otel.endpoint: expected http://HOST[:PORT] or https://HOST[:PORT]",
        f"sinks.otel.headers_file: {tmp_path}/no: No such file or directory",
    )


def test_a_disabled_sdk(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    problem = sidecar.problem("OTLP receiver", **alerts_over("http://127.0.0.1:1"))
    assert problem.startswith("sinks.otel.enabled: OTEL_SDK_DISABLED is set")


# ---- webhook, Alertmanager


def test_a_webhook_is_checked_without_sending_anything(sidecar: Sidecar) -> None:
    with HttpReceiver() as receiver:
        webhook = {"enabled": True, "url": receiver.url}
        found = sidecar.results(sinks={"webhook": webhook})["webhook"]
        assert (found.problems, found.detail) == ((), "URL, secrets and template can be used")
        problem = sidecar.problem("webhook", sinks={"webhook": webhook | {"template": "{% if %}"}})
    assert problem.startswith("sinks.webhook.template: line 1: ")
    assert receiver.requests == []


def test_an_alertmanager_that_answers_and_one_that_does_not(sidecar: Sidecar) -> None:
    with HttpReceiver() as receiver:
        sinks = {"alertmanager": {"enabled": True, "url": receiver.url}}
        assert sidecar.results(sinks=sinks)["Alertmanager"].detail == f"{receiver.url} takes alerts"
        receiver.statuses = [404]
        assert "HTTP 404" in sidecar.problem("Alertmanager", sinks=sinks)
    assert [(request.path, request.body) for request in receiver.requests] == [("/api/v2/alerts", b"[]")] * 2
    assert "Connection refused" in sidecar.problem("Alertmanager", sinks=sinks)


# ---- HTTP intake


def over_http(folder: Path, **http: Any) -> dict[str, Any]:
    jsonl = {"enabled": True, "path": str(folder / "alerts.jsonl")}
    return {"source": {"kind": "http"}, "http": {"port": 0, **http}, "sinks": {"jsonl": jsonl}}


def test_with_http_kafka_is_checked_only_if_a_sink_uses_it(sidecar: Sidecar, tmp_path: Path) -> None:
    sections = over_http(tmp_path)
    found = sidecar.results(**sections)
    assert "Kafka" not in found
    assert found["HTTP intake"].detail == "127.0.0.1:0 is free"
    sections["sinks"]["kafka"] = {"enabled": True}
    sections["kafka"] = {"bootstrap_servers": "127.0.0.1:1"}
    assert sidecar.results(**sections)["Kafka"].problems


def test_an_intake_that_cannot_work(sidecar: Sidecar, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        problem = sidecar.problem("HTTP intake", **over_http(tmp_path, port=other.getsockname()[1]))
    assert problem.startswith("http.port: cannot listen on 127.0.0.1:")
    bad_events = tmp_path / "no" / "bad.jsonl"
    (tmp_path / "no").write_text("a file")
    problem = sidecar.problem("HTTP intake", **over_http(tmp_path, bad_events_path=str(bad_events)))
    assert problem.startswith(f"http.bad_events_path: {bad_events}: ")


def test_an_intake_without_its_extra(sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "monitor.sources.http_server", raising=False)
    problem = sidecar.problem("HTTP intake", **over_http(tmp_path))
    assert problem == "source.kind: http needs: pip install 'latentwatch[http]'"


# ---- feature sets, model, SAE and reader


def test_one_part_does_not_hide_another(reading: Sidecar, tmp_path: Path) -> None:
    found = reading.results(feature_sets={"paths": [str(tmp_path / "no")]}, **alerts_to(tmp_path))
    assert list(found) == ["config", "health port", "alert file", "Kafka", "feature sets", "model and SAE", "reader"]
    assert found["feature sets"].problems == (f"feature_sets.paths: {tmp_path}/no: no such file or folder",)
    assert found["alert file"].problems
    assert not found["reader"].checked


def test_results_come_one_by_one(sidecar: Sidecar) -> None:
    (port,) = free_ports(1)
    sidecar.results(health={"host": "127.0.0.1", "port": port})
    results = check(sidecar.file, {}, 1.0)
    assert next(results).part == "config"
    with socket.create_server(("127.0.0.1", port)):  # in use only after the first result
        assert next(results).problems


def test_sets_are_loaded_once(reading: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []

    def counted(path: Path) -> LoadedSet:
        loaded.append(path)
        return load_feature_set(path)

    monkeypatch.setattr("monitor.sets.load.load_feature_set", counted)
    assert reading.results()["reader"].checked
    assert [path.name for path in loaded] == ["one.yaml"]


def test_a_reader_that_the_first_start_compiles(reading: Sidecar, tmp_path: Path) -> None:
    found = reading.results()
    assert found["feature sets"].detail == "unsafe-code 1.0.0"
    assert "features, model " in found["model and SAE"].detail
    assert found["reader"].problems == ()
    assert found["reader"].detail.startswith("not compiled yet: the first start compiles it")
    assert not (tmp_path / "cache").exists()


def test_a_gguf_is_not_converted(
    reading: Sidecar, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = make_package(tmp_path / "package")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    ref = load_feature_set(small / "sets" / "one.yaml").shipped.reader.model_dump(mode="json")
    ref |= {"model_sha256": file_sha256(gguf), "sae": ref["sae"] | {"path": str(small / "sae")}}
    sets = write_set(tmp_path / "sets" / "one.yaml", reader=ref)
    reader = reading.data["reader"] | {"model": str(gguf)}
    found = reading.results(reader=reader, feature_sets={"paths": [str(sets)]})
    assert found["model and SAE"].problems == ()
    assert found["reader"].detail.startswith("not compiled yet")
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not (tmp_path / "cache").exists()


def test_without_the_compile_extra(reading: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "monitor.compiler.graph", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert reading.problem("reader") == "compiling needs onnx; run: pip install 'latentwatch[compile]'"


def test_a_cache_that_cannot_be_written(reading: Sidecar, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    reader = reading.data["reader"] | {"cache_dir": str(tmp_path / "file")}
    assert reading.problem("reader", reader=reader) == (
        f"reader.cache_dir: {tmp_path}/file/bundles: {tmp_path}/file is not a folder; "
        "set it to a folder that can be written"
    )


@pytest.fixture
def compiled(reading: Sidecar) -> Path:
    """The bundle in the cache of the sidecar."""
    reading.results()
    config = load_config(reading.file, {})
    cached_bundle(config, load_model_artefacts(config), lambda _: None)
    return cached_folder(config, load_model_artefacts(config))


def test_a_cached_reader_passes_its_self_test_and_is_left_alone(reading: Sidecar, compiled: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (compiled, *compiled.iterdir())}
    found = reading.results()
    assert found["reader"].detail == f"compiled, self-test passed ({compiled})"
    assert "1 thread, batches of 512 tokens, prefix cache 128 MiB, about " in found["cores and memory"].detail
    assert {path: path.stat().st_mtime_ns for path in (compiled, *compiled.iterdir())} == before


def test_a_cached_reader_that_was_changed(reading: Sidecar, compiled: Path) -> None:
    graph = bytearray((compiled / "fp32.onnx").read_bytes())
    graph[-1] ^= 1
    (compiled / "fp32.onnx").write_bytes(graph)
    assert reading.results()["reader"].detail == (
        f"the compiled reader is damaged ({compiled}/fp32.onnx: was changed after the bundle was compiled): "
        f"the first start compiles it, which takes seconds, into {compiled}"
    )


def test_a_given_bundle(reading: Sidecar, compiled: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(compiled, tmp_path / "bundle")
    reader = reading.data["reader"] | {"bundle": str(bundle)}
    assert reading.results(reader=reader)["reader"].detail == f"compiled, self-test passed ({bundle})"
    (bundle / "tokenizer.json").unlink()
    assert reading.problem("model and SAE", reader=reader) == f"{bundle}/tokenizer.json: missing"


def test_a_limit_on_memory_that_is_too_low(reading: Sidecar, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.machine.limits", lambda: Limits(1, 2**26, 0.5, memory_limited=True))
    problem = reading.problem("cores and memory")
    assert problem.startswith("reading takes about ")
    assert "the limit of the container is 64 MiB" in problem


def test_the_torch_engine(reading: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = reading.data["reader"] | {"engine": "torch"}
    assert reading.results(reader=reader)["reader"].detail == "torch on cpu: self-test passed"
    monkeypatch.delitem(sys.modules, "monitor.readers.torch_reader", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert reading.problem("reader", reader=reader) == (
        "reader.engine: torch needs torch; run: pip install 'latentwatch[torch]'"
    )


def test_the_command_prints_every_part_and_ends_with_2(reading: Sidecar, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    kafka = {"bootstrap_servers": f"127.0.0.1:{port}"}
    reading.results(kafka=kafka, health={"enabled": False}, **alerts_to(tmp_path / "alerts.jsonl"))
    done = CliRunner().invoke(app, ["check", "-c", str(reading.file)])
    assert done.exit_code == 2
    lines = done.stdout.splitlines()
    assert [line[:12] for line in lines if not line.startswith(" ")] == [
        "✓ config: sh",
        "✓ alert file",
        "✗ Kafka",
        "✓ feature se",
        "✓ model and ",
        "✓ reader: no",
        "✓ cores and ",
    ]
    assert f"    kafka.bootstrap_servers: 127.0.0.1:{port}: connection refused; no broker listens there" in lines


def test_only_the_config_and_the_sets(tmp_path: Path) -> None:
    """As in a CI job: no broker, no model, no free port is needed."""
    write_set(tmp_path / "sets" / "one.yaml")
    sections = {"kafka": {"bootstrap_servers": "nowhere.invalid:9092"}, "reader": {"model": "/none"}}
    file = tmp_path / "config.yaml"

    def parts(**feature_sets: Any) -> dict[str, CheckResult]:
        paths = {"paths": [str(tmp_path / "sets")]}
        file.write_text(json.dumps({**sections, "feature_sets": {**paths, **feature_sets}}))
        return {result.part: result for result in check(file, {}, config_only=True)}

    found = parts()
    assert [(part, result.problems) for part, result in found.items()] == [("config", ()), ("feature sets", ())]
    assert found["feature sets"].detail == "unsafe-code 1.0.0"
    rule = {"name": "r", "when": {"tenant": "a"}, "sets": {"nope": {"severity": "low"}}}
    assert parts(rules=[rule])["feature sets"].problems == (
        "feature_sets.rules: r: sets.nope: no set of this name is in use; there are unsafe-code",
    )
    done = CliRunner().invoke(app, ["check", "--config-only", "--config", str(file)])
    assert (done.exit_code, done.output.count("nope")) == (2, 1)
