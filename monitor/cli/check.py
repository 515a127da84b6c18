"""Check: everything that could stop a sidecar from starting, found before it starts and without changing anything."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.assembly.artefacts import BundleArtefacts, ModelArtefacts
from monitor.cli.file_access import file_problem, folder_problem
from monitor.cli.wiring import load_sets
from monitor.config.load import load_config
from monitor.config.sections import Config
from monitor.config.sinks import SinkConfig
from monitor.errors import ConfigError, Permanent, Retryable
from monitor.sinks.jsonl import JsonlSinkConfig

if TYPE_CHECKING:
    from monitor.assembly.artefacts import Artefacts
    from monitor.readers.onnx.bundle import Bundle
    from monitor.sets.load import LoadedSet


@dataclass(frozen=True)
class CheckResult:
    """The result for one part."""

    part: str
    problems: tuple[str, ...] = ()
    detail: str = ""
    """What was found, if there is no problem."""
    checked: bool = True


def check(
    path: Path | None, env: Mapping[str, str], broker_timeout_s: float = 10.0, config_only: bool = False
) -> Iterator[CheckResult]:
    """Checks one part after the other and yields each result at once. One part's problems do not hide another's.

    `config_only` leaves out what only the machine of the sidecar has: ports, brokers, model and SAE.
    """
    try:
        config = load_config(path, env)
    except ConfigError as e:
        yield CheckResult("config", e.problems)
        return
    yield CheckResult("config", detail=f"sha256 {config.sha256()[:16]}")
    if config_only:
        yield _result("feature sets", lambda: _named(load_sets(config)))
        return
    if config.health.enabled:
        yield _result("health port", lambda: _health_port(config))
    jsonl = config.sinks.enabled().get("jsonl")
    if isinstance(jsonl, JsonlSinkConfig):
        yield _result("alert file", lambda: _alert_file(jsonl))
    if config.sinks.otel.enabled:
        yield _result("OTLP receiver", lambda: _otlp_receiver(config))
    sinks = config.sinks.enabled()
    if "webhook" in sinks:
        yield _result("webhook", lambda: _webhook(sinks["webhook"]))
    if "alertmanager" in sinks:
        yield _result("Alertmanager", lambda: _alertmanager(sinks["alertmanager"]))
    if config.source.kind == "http":
        yield _result("HTTP intake", lambda: _http(config))
    if config.uses_kafka:
        yield _result("Kafka", lambda: _kafka(config, broker_timeout_s))
    if config.events.schema_registry_url is not None:
        yield _result("schema registry", lambda: _schema_registry(config))
    yield from _reading(config)


def _result(part: str, look: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(part, detail=look())
    except ConfigError as e:
        return CheckResult(part, e.problems)


def _health_port(config: Config) -> str:
    from monitor.telemetry.health import check_port

    port = check_port(config.health)
    return f"{config.health.host}:{port} is free" if config.health.port else "any free port"


def _alert_file(jsonl: JsonlSinkConfig) -> str:
    path = jsonl.path.absolute()
    problem = file_problem(path)
    if problem is not None:
        raise ConfigError(f"sinks.jsonl.path: {path}: {problem}")
    return f"{path} can be written"


def _otlp_receiver(config: Config) -> str:
    from monitor.telemetry.check import otlp_problems

    problems = otlp_problems(config.sinks.otel)
    if problems:
        raise ConfigError(problems)
    return f"{config.sinks.otel.endpoint} takes logs, traces and metrics"


def _webhook(section: SinkConfig) -> str:
    from monitor.sinks.webhook import WebhookSink, WebhookSinkConfig

    WebhookSink(WebhookSinkConfig.model_validate(section)).close()
    return "URL, secrets and template can be used"


def _alertmanager(section: SinkConfig) -> str:
    from monitor.sinks.alertmanager import AlertmanagerSink, AlertmanagerSinkConfig

    config = AlertmanagerSinkConfig.model_validate(section)
    sink = AlertmanagerSink(config)
    try:
        sink.post([])
    except (Retryable, Permanent) as e:
        raise ConfigError(str(e)) from None
    finally:
        sink.close()
    return f"{config.url} takes alerts"


def _http(config: Config) -> str:
    from monitor.sources.http import check_address

    check_address(config.http)
    path = config.http.bad_events_path
    problem = file_problem(path.absolute()) if path is not None else None
    if problem is not None:
        raise ConfigError(f"http.bad_events_path: {path}: {problem}")
    return f"{config.http.address} is free"


def _kafka(config: Config, timeout_s: float) -> str:
    from monitor.kafka.check import broker_problems

    problems = broker_problems(config, timeout_s)
    if problems:
        raise ConfigError(problems)
    return f"{config.kafka.bootstrap_servers} is ready"


def _schema_registry(config: Config) -> str:
    from monitor.kafka.schema_registry import SchemaRegistry

    registry = SchemaRegistry(config.events)
    try:
        registry.decoders((1,))  # whether there is one or not, a registry says so
    except Retryable as e:
        raise ConfigError(str(e)) from None
    finally:
        registry.close()
    return f"{config.events.schema_registry_url} answers"


def _reading(config: Config) -> Iterator[CheckResult]:
    """Feature sets, then model and SAE, then the reader; each needs what came before it."""
    try:
        sets = load_sets(config)
    except ConfigError as e:
        yield CheckResult("feature sets", e.problems)
        yield CheckResult("model and SAE", detail="not checked without feature sets", checked=False)
        yield CheckResult("reader", detail="not checked without feature sets", checked=False)
        return
    yield CheckResult("feature sets", detail=_named(sets))
    try:
        artefacts, detail = _artefacts(config, sets)
    except ConfigError as e:
        yield CheckResult("model and SAE", e.problems)
        yield CheckResult("reader", detail="not checked without model and SAE", checked=False)
        return
    yield CheckResult("model and SAE", detail=detail)
    compiled: list[Bundle] = []
    yield _result("reader", lambda: _reader(config, artefacts, compiled.append))
    yield _result("cores and memory", lambda: _resources(config, compiled))


def _named(sets: list[LoadedSet]) -> str:
    return ", ".join(f"{s.set.id} {s.set.version}" for s in sets)


def _artefacts(config: Config, sets: list[LoadedSet]) -> tuple[Artefacts, str]:
    """Model and SAE as at start-up. Nothing is converted: the text files of a model go to a temporary folder."""
    from monitor.assembly.artefacts import load_artefacts
    from monitor.assembly.tokeniser import build_tokeniser
    from monitor.model.files import ModelFiles

    artefacts = load_artefacts(config, sets)
    references = artefacts.reference_checks()
    model = artefacts.original if isinstance(artefacts, ModelArtefacts) else artefacts.model
    with tempfile.TemporaryDirectory(prefix="latentwatch-check-") as scratch:
        model.write_texts(Path(scratch))
        tokeniser = build_tokeniser(config, ModelFiles(Path(scratch), model.sha256))
        references.tokens(tokeniser)
    found = f"{len(artefacts.latents)} features, model {model.sha256[:16]}"
    for point, columns in zip(artefacts.points[1:], artefacts.further, strict=True):
        found += f"; in the same pass {len(columns.latents)} features of {point}"
    return artefacts, "; ".join([found, *tokeniser.notes])


def _reader(config: Config, artefacts: Artefacts, found: Callable[[Bundle], None]) -> str:
    """Builds the engine as at start-up, self-test included, unless it would have to be compiled.

    Tells `found` the bundle, if there is one.
    """
    from monitor.assembly.build import build_engine
    from monitor.assembly.bundle_cache import cached_folder
    from monitor.compiler.compile import compilable
    from monitor.readers.onnx.bundle import load_bundle

    if config.reader.engine == "torch":
        build_engine(config, artefacts)
        return f"torch on {config.reader.device}: self-test passed"
    if isinstance(artefacts, BundleArtefacts):
        found(artefacts.compiled)
        build_engine(config, artefacts)
        return f"compiled, self-test passed ({config.reader.bundle})"
    artefacts = artefacts.uncompiled("compiling")
    folder, state = cached_folder(config, artefacts), "not compiled yet"
    if folder.exists():
        try:
            bundle = load_bundle(folder)
        except ConfigError as e:
            state = f"the compiled reader is damaged ({e})"
        else:
            found(bundle)
            build_engine(config, BundleArtefacts(artefacts.sets, bundle))
            return f"compiled, self-test passed ({folder})"
    compilable(artefacts.original, artefacts.sae, artefacts.ref.layer)
    problem = folder_problem(folder.parent)
    if problem is not None:
        raise ConfigError(f"reader.cache_dir: {folder.parent}: {problem}; set it to a folder that can be written")
    return f"{state}: the first start compiles it, which takes seconds, into {folder}"


def _resources(config: Config, compiled: list[Bundle]) -> str:
    """What the process may use, and what a compiled reader takes of it."""
    from monitor.assembly.memory_plan import MemoryPlan
    from monitor.machine import limits

    found = limits()
    if not compiled:
        return str(found)
    plan = MemoryPlan.of(config, compiled[0], found)
    if plan.problem is not None:
        raise ConfigError(plan.problem)
    return str(plan)
