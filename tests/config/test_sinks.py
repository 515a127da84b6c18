"""The sinks section: each sink's own model, and sinks from packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config.load import load_config
from monitor.config.sinks import SINKS, SinkConfig, SinksConfig, section_model
from monitor.errors import ConfigError
from tests.plugin_package import installed, write_package

PAGER = """
from pydantic import BaseModel, SecretStr
from monitor.config.section import Section
from monitor.config.sinks import SinkConfig

class Login(Section):
    user: str = ""
    code: SecretStr | None = None

class PagerConfig(SinkConfig):
    token: SecretStr | None = None
    token_file: str | None = None
    logins: tuple[Login, ...] = ()
    login: Login | None = None

class Pager:
    config_type = PagerConfig

    @classmethod
    def open(cls, config, context):
        return cls()
"""


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A sink with secrets, one that can't be imported, and one that is none."""
    site = tmp_path / "site"
    group = "latentwatch.sinks"
    write_package(site, "pager-sink", {group: {"pager": "pager_sink:Pager"}}, {"pager_sink.py": PAGER})
    write_package(site, "old-sink", {group: {"old": "old_sink:Old"}}, {"old_sink.py": "import gone_library"}, "0.9")
    write_package(site, "empty-sink", {group: {"empty": "empty_sink"}}, {"empty_sink.py": ""})
    monkeypatch.setattr(SINKS, "_loaded", {})
    with installed(site):
        yield


def problems(folder: Path, sinks: Any, env: dict[str, str] | None = None) -> list[str]:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"sinks": sinks}))
    with pytest.raises(ConfigError) as caught:
        load_config(path, env or {})
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_sinks_are_enabled_in_the_order_in_which_they_are_registered() -> None:
    sinks = SinksConfig.model_validate({"pager": {"enabled": True}, "jsonl": {"enabled": True}})
    assert [*sinks.enabled()] == ["jsonl", "kafka", "pager"]


def test_every_section_is_there_whether_mentioned_or_not() -> None:
    assert {name: section_model(name) for name, _ in SinksConfig()} == {
        name: type(section) for name, section in SinksConfig()
    }
    assert {name for name, _ in SinksConfig()} == set(SINKS.built_in)


@pytest.mark.parametrize(
    ("sinks", "problem"),
    [
        (
            {"pagers": {}},
            "sinks.pagers: no sink is called 'pagers'; "
            "there are jsonl, otel, webhook, alertmanager, kafka, empty, old, pager",
        ),
        ({"_kafka": {}}, "sinks._kafka: no sink is called '_kafka'; there are"),
        ({"json": {}}, "sinks.json: no sink is called 'json'; there are"),
        ({1: {}}, "sinks.1: Keys should be strings"),
        (
            {"old": {}},
            "sinks.old: the sink 'old' of package old-sink 0.9 can't be imported: "
            "ModuleNotFoundError: No module named 'gone_library'",
        ),
        (
            {"empty": {}},
            "sinks.empty: the sink 'empty' of package empty-sink 1.0 has no config_type: empty_sink is not a sink",
        ),
        ({"pager": {"enabledd": True}}, "sinks.pager.enabledd: unknown key"),
        ({"jsonl": None}, "sinks.jsonl: expected keys and values"),
        ({"otel": {"timeout_s": 0}}, "sinks.otel.timeout_s: Input should be greater than 0"),
        ([], "sinks: expected keys and values"),
    ],
)
def test_bad_sections_are_refused_for_their_fault_only(tmp_path: Path, sinks: Any, problem: str) -> None:
    (found,) = problems(tmp_path, sinks)
    assert found.startswith(f"config.yaml: {problem}")


def test_problems_of_all_sinks_are_listed(tmp_path: Path) -> None:
    found = problems(tmp_path, {"kafka": {"topic": ""}, "otel": {"url": "x"}, "pager": {"x": 1}, "fax": {}})
    assert sorted(problem.split(": ")[1] for problem in found) == [
        "sinks.fax",
        "sinks.kafka.topic",
        "sinks.otel.url",
        "sinks.pager.x",
    ]


def test_an_unknown_sink_from_a_variable_is_blamed_on_the_variable(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, {}, {"LATENTWATCH__SINKS__FAX__ENABLED": "true"})
    assert found.startswith("LATENTWATCH__SINKS__FAX__ENABLED: sinks.fax: no sink is called 'fax'")


def test_a_package_s_secrets_are_refused_in_files_by_their_type(tmp_path: Path) -> None:
    login = {"code": "hunter2", "user": "me"}
    found = problems(tmp_path, {"pager": {"token": "hunter2", "login": login, "logins": [login]}})
    assert found == [
        "config.yaml: sinks.pager.login.code: secrets are not allowed in the config file; use "
        "LATENTWATCH__SINKS__PAGER__LOGIN__CODE in the environment",
        "config.yaml: sinks.pager.logins.code: secrets are not allowed in the config file; use "
        "LATENTWATCH__SINKS__PAGER__LOGINS__CODE in the environment",
        "config.yaml: sinks.pager.token: secrets are not allowed in the config file; use sinks.pager.token_file, "
        "or LATENTWATCH__SINKS__PAGER__TOKEN in the environment",
    ]


@pytest.mark.parametrize("value", ["hunter2", "12345", "[", "null"])
def test_a_package_s_secrets_come_from_the_environment_as_they_are(value: str) -> None:
    env = {"LATENTWATCH__SINKS__PAGER__TOKEN": value, "LATENTWATCH__SINKS__PAGER__ENABLED": "true"}
    config = load_config(None, env)
    assert config.sinks.enabled()["pager"].token.get_secret_value() == value  # type: ignore[attr-defined]
    assert config.sha256() == load_config(None, env | {"LATENTWATCH__SINKS__PAGER__TOKEN": "another"}).sha256()


def test_a_changed_section_is_validated() -> None:
    changed = SinksConfig().changed(jsonl={"enabled": True})
    assert [*changed.enabled()] == ["jsonl", "kafka"]
    with pytest.raises(ConfigError, match="config: kafka: "):
        SinksConfig().changed(kafka="no")
    with pytest.raises(ConfigError, match="alerts would go nowhere"):
        SinksConfig().changed(kafka={"enabled": False})


def test_sinks_say_which_topics_they_write_to() -> None:
    sections = SinksConfig.model_validate({"kafka": {"topic": "t"}, "jsonl": {"enabled": True}}).enabled()
    assert {name: section.kafka_topics() for name, section in sections.items()} == {
        "kafka": {"topic": "t"},
        "jsonl": {},
    }
    assert SinkConfig().kafka_topics() == {}


def test_loading_a_config_imports_no_client_library(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("sinks: {kafka: {enabled: true}, otel: {enabled: true}, alertmanager: {enabled: true}}")
    code = (
        "import sys; from pathlib import Path; from monitor.config.load import load_config\n"
        f"assert len(load_config(Path({str(path)!r}), {{}}).sinks.enabled()) == 3\n"
        "heavy = ('kafka', 'opentelemetry', 'onnxruntime', 'torch', 'requests', 'jinja2')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
