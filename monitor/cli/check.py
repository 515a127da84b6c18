"""Check: everything that could stop a sidecar from starting, found before it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.sections import Config, load_config
from monitor.errors import ConfigError
from monitor.kafka.check import broker_problems


@dataclass(frozen=True)
class CheckResult:
    """One part that was looked at. `detail` says what was found where all is well."""

    part: str
    problems: tuple[str, ...]
    detail: str = ""


def check(path: Path | None, env: Mapping[str, str], broker_timeout_s: float = 10.0) -> list[CheckResult]:
    """Looks at config, feature sets, model, SAE and brokers; one part's problems do not hide another's."""
    try:
        config = load_config(path, env)
    except ConfigError as e:
        return [CheckResult("config", e.problems)]
    return [
        CheckResult("config", (), f"sha256 {config.sha256()[:16]}"),
        _part("feature sets, model and SAE", lambda: _artefacts(config)),
        CheckResult(
            "Kafka", tuple(broker_problems(config, broker_timeout_s)), f"{config.kafka.bootstrap_servers} is ready"
        ),
    ]


def _part(name: str, look: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, (), look())
    except ConfigError as e:
        return CheckResult(name, e.problems)


def _artefacts(config: Config) -> str:
    artefacts = load_artefacts(config)
    reference = artefacts.reference_check()
    if reference is not None:
        reference.tokens(build_tokeniser(config, artefacts.model))
    sets = ", ".join(f"{s.set.id} {s.set.version}" for s in artefacts.sets)
    return f"{sets}; {len(artefacts.latents)} features; model {artefacts.model.sha256[:16]}"
