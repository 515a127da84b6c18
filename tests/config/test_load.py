"""load_config: every problem is listed with file or variable, key and rule; secrets stay out of files and hashes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from monitor.config.load import config_schema, load_config
from monitor.config.sections import Config
from monitor.errors import ConfigError


def write(folder: Path, data: Any) -> Path:
    path = folder / "config.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return path


def problems(folder: Path, data: Any, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(write(folder, data), env or {})
    return [p.replace(f"{folder}/", "") for p in caught.value.problems]


def test_defaults_without_a_file_and_from_an_empty_one(tmp_path: Path) -> None:
    assert load_config(None, {}) == load_config(write(tmp_path, ""), {}) == Config()


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, {"source": {"topic": "chat"}, "feature_sets": {"only": ["a"]}}), {})
    assert (config.source.topic, config.source.group_id, config.feature_sets.only) == ("chat", "latentwatch", ("a",))
    assert config.reader == Config().reader


BAD: dict[str, tuple[Any, str]] = {
    "unknown_section": ({"kafak": {}}, "kafak: unknown key"),
    "unknown_key": ({"source": {"topics": "x"}}, "source.topics: unknown key"),
    "unknown_key_in_override": (
        {"feature_sets": {"overrides": {"a": {"treshold": 1}}}},
        "feature_sets.overrides.a.treshold: unknown key",
    ),
    "section_is_text": ({"source": "x"}, "source: expected keys and values"),
    "text_for_number": (
        {"source": {"max_poll_records": "many"}},
        "source.max_poll_records: Input should be a valid integer",
    ),
    "number_for_text": ({"source": {"topic": 5}}, "source.topic: Input should be a valid string"),
    "zero": ({"alerts": {"top_tokens": 0}}, "alerts.top_tokens: Input should be greater than 0"),
    "empty_topic": ({"source": {"topic": ""}}, "source.topic: String should have at least 1 character"),
    "port_out_of_range": ({"health": {"port": 65_536}}, "health.port: Input should be less than or equal to 65535"),
    "unknown_value": ({"log": {"level": "loud"}}, "log.level: Input should be 'debug', 'info', 'warning' or 'error'"),
    "window_too_small": (
        {"reader": {"window_tokens": 63}},
        "reader.window_tokens: Input should be greater than or equal to 64",
    ),
    "overlap_over_half": (
        {"reader": {"window_tokens": 100, "overlap_tokens": 51}},
        "reader: overlap_tokens may be at most half of window_tokens",
    ),
    "overlap_of_default_over_half": (
        {"reader": {"window_tokens": 500}},
        "reader: overlap_tokens may be at most half of window_tokens",
    ),
    "no_sink": ({"sinks": {"kafka": {"enabled": False}}}, "sinks: no sink is enabled: alerts would go nowhere"),
    "override_not_finite": (
        {"feature_sets": {"overrides": {"a": {"threshold": float("inf")}}}},
        "feature_sets.overrides.a.threshold: Input should be a finite number",
    ),
    "sasl_without_mechanism": (
        {"kafka": {"security_protocol": "SASL_SSL"}},
        "kafka: security_protocol SASL_SSL needs sasl_mechanism",
    ),
    "mechanism_without_sasl": (
        {"kafka": {"sasl_mechanism": "PLAIN"}},
        "kafka: sasl_mechanism needs security_protocol SASL_SSL or SASL_PLAINTEXT",
    ),
    "sasl_without_username": (
        {"kafka": {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_password_file": "p"}},
        "kafka: sasl_mechanism PLAIN needs sasl_username",
    ),
    "sasl_without_password": (
        {"kafka": {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "u"}},
        "kafka: sasl_mechanism SCRAM-SHA-512 needs sasl_password_file, "
        "or LATENTWATCH__KAFKA__SASL_PASSWORD in the environment",
    ),
    "oauth_without_client_id": (
        {"kafka": {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "oauth_token_url": "https://x"}},
        "kafka: sasl_mechanism OAUTHBEARER needs oauth_token_file, or oauth_token_url and oauth_client_id",
    ),
    "oauth_without_secret": (
        {
            "kafka": {
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "OAUTHBEARER",
                "oauth_token_url": "https://x",
                "oauth_client_id": "c",
            }
        },
        "kafka: sasl_mechanism OAUTHBEARER needs oauth_client_secret_file, "
        "or LATENTWATCH__KAFKA__OAUTH_CLIENT_SECRET in the environment",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_configs_are_refused_only_for_their_fault(tmp_path: Path, fault: str) -> None:
    data, problem = BAD[fault]
    (found,) = problems(tmp_path, data)
    assert found.startswith(f"config.yaml: {problem}")


def test_every_problem_is_listed(tmp_path: Path) -> None:
    data = {
        "kafka": {"sasl_password": "hunter2"},
        "source": {"topics": "x", "max_poll_records": -1},
        "log": {"format": "xml"},
    }
    found = problems(tmp_path, data, {"LATENTWATCH__HEALTH__PORT": "high", "LATENTWATCH__NOPE__KEY": "1"})
    assert [p.split(": ", 2)[:2] for p in sorted(found)] == [
        ["LATENTWATCH__HEALTH__PORT", "health.port"],
        ["LATENTWATCH__NOPE__KEY", "nope"],
        ["config.yaml", "kafka.sasl_password"],
        ["config.yaml", "log.format"],
        ["config.yaml", "source.max_poll_records"],
        ["config.yaml", "source.topics"],
    ]


def test_a_repeated_key_is_named_with_its_line(tmp_path: Path) -> None:
    text = "source:\n  topic: a\nlog:\n  level: info\nsource:\n  group_id: b\n"
    assert problems(tmp_path, text) == ["config.yaml:5: the key 'source' is given twice"]


@pytest.mark.parametrize(
    ("config", "ok"), [({"window_tokens": 512}, True), ({"window_tokens": 100, "overlap_tokens": 50}, True)]
)
def test_an_overlap_of_half_a_window_is_accepted(tmp_path: Path, config: dict[str, int], ok: bool) -> None:
    assert load_config(write(tmp_path, {"reader": config}), {}).reader.window_tokens == config["window_tokens"]


@pytest.mark.parametrize(
    "kafka",
    [
        {"sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password_file": "/p"},
        {"sasl_mechanism": "OAUTHBEARER", "oauth_token_file": "/t"},
        {
            "sasl_mechanism": "OAUTHBEARER",
            "oauth_token_url": "https://x",
            "oauth_client_id": "c",
            "oauth_client_secret_file": "/s",
        },
    ],
)
@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT"])
def test_complete_logins_are_accepted(tmp_path: Path, kafka: dict[str, str], protocol: str) -> None:
    config = load_config(write(tmp_path, {"kafka": {"security_protocol": protocol, **kafka}}), {})
    assert config.kafka.sasl_mechanism == kafka["sasl_mechanism"]


# ---- environment


def test_variables_override_the_file_and_are_read_as_yaml(tmp_path: Path) -> None:
    env = {
        "LATENTWATCH__SOURCE__TOPIC": "from-env",
        "LATENTWATCH__SOURCE__MAX_POLL_RECORDS": "7",
        "LATENTWATCH__ALERTS__CAPTURE_CONTENT": "true",
        "LATENTWATCH__HEALTH__STALLED_AFTER_S": "1.5",
        "LATENTWATCH__FEATURE_SETS__ONLY": "[a, b]",
        "LATENTWATCH__KAFKA__BOOTSTRAP_SERVERS": "a:9092,b:9092",
        "LATENTWATCH__KAFKA__SSL_CAFILE": "/ca.pem",
        "LATENTWATCH__READER__REVISION": "null",
        "LATENTWATCH__FEATURE_SETS__OVERRIDES__unsafe-code__THRESHOLD": "0.9",
        "LATENTWATCH__FEATURE_SETS__OVERRIDES__unsafe-code__FEATURES__12__ENABLED": "false",
        "LATENTWATCH__SINKS__JSONL__ENABLED": "true",
        "UNRELATED__SOURCE__TOPIC": "x",
        "LATENTWATCH_COLOUR": "x",
    }
    config = load_config(
        write(tmp_path, {"source": {"topic": "file", "group_id": "g"}, "reader": {"revision": "r"}}), env
    )
    assert (config.source.topic, config.source.group_id, config.source.max_poll_records) == ("from-env", "g", 7)
    assert config.alerts.capture_content is True
    assert config.health.stalled_after_s == 1.5
    assert config.feature_sets.only == ("a", "b")
    assert config.kafka.bootstrap_servers == "a:9092,b:9092"
    assert config.kafka.ssl_cafile == Path("/ca.pem")
    assert config.reader.revision is None
    assert config.feature_sets.overrides["unsafe-code"].threshold == 0.9
    assert not config.feature_sets.overrides["unsafe-code"].features[12].enabled
    assert config.sinks.jsonl.enabled


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("SOURCE__TOPICS", "x", "source.topics: unknown key"),
        ("SOURCE", "x", "source: expected keys and values"),
        ("SOURCE__TOPIC__NAME", "x", "source.topic: Input should be a valid string"),
        ("SOURCE__MAX_POLL_RECORDS", "many", "source.max_poll_records: Input should be a valid integer"),
        ("SOURCE__TOPIC", "[", "cannot override source.topic with this value"),
        ("SOURCE__TOPIC", "2025-13-01", "cannot override source.topic with this value"),
        ("SOURCE__TOPIC", "[" * 5_000, "cannot override source.topic with this value"),
        ("SOURCE__", "x", "source.: unknown key"),
        ("", "x", ": unknown key"),
    ],
)
def test_bad_variables_are_named(tmp_path: Path, name: str, value: str, problem: str) -> None:
    (found,) = problems(tmp_path, {}, {f"LATENTWATCH__{name}": value})
    assert found.startswith(f"LATENTWATCH__{name}: ")
    assert problem in found


def test_a_variable_below_something_that_is_no_section(tmp_path: Path) -> None:
    env = {"LATENTWATCH__SOURCE__TOPIC__NAME": "x"}
    assert problems(tmp_path, {"source": {"topic": "t"}}, env) == [
        "LATENTWATCH__SOURCE__TOPIC__NAME: cannot override source.topic.name with this value"
    ]


# ---- secrets

SECRETS = ["kafka.ssl_password", "kafka.sasl_password", "kafka.oauth_client_secret"]


def _variable(key: str) -> str:
    return "LATENTWATCH__" + key.upper().replace(".", "__")


@pytest.mark.parametrize("key", SECRETS)
def test_secrets_in_files_are_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    section, name = key.split(".")
    (found,) = problems(tmp_path, {section: {name: "hunter2"}})
    assert found == (
        f"config.yaml: {key}: secrets are not allowed in the config file; use {key}_file, "
        f"or {_variable(key)} in the environment"
    )


def test_a_secret_of_the_wrong_type_is_not_repeated_either(tmp_path: Path) -> None:
    assert "20250713" not in "".join(problems(tmp_path, {"kafka": {"sasl_password": 20250713}}))


@pytest.mark.parametrize("key", SECRETS)
@pytest.mark.parametrize("value", ["hunter2", "12345", "true", "[", "a: b", "null", " x "])
def test_secrets_come_from_the_environment_as_they_are_and_do_not_show(key: str, value: str) -> None:
    config = load_config(None, {_variable(key): value})
    secret = getattr(config.kafka, key.split(".")[1])
    assert secret.get_secret_value() == value
    others = load_config(None, {_variable(key): "something else"})
    assert config.sha256() == others.sha256()


def test_secrets_show_nowhere() -> None:
    config = load_config(None, {_variable(key): "hunter2" for key in SECRETS})
    for text in (repr(config), str(config), config.model_dump_json(), str(config.model_dump())):
        assert "hunter2" not in text


# ---- hash and schema


def test_the_hash_is_of_what_is_in_force_wherever_it_came_from(tmp_path: Path) -> None:
    from_file = load_config(write(tmp_path, {"events": {"max_tokens": 9}}), {})
    from_env = load_config(None, {"LATENTWATCH__EVENTS__MAX_TOKENS": "9"})
    assert from_file.sha256() == from_env.sha256() != Config().sha256()
    assert load_config(write(tmp_path, {"events": {"max_tokens": 65_536}}), {}).sha256() == Config().sha256()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("feature_sets", "overrides", {"bias": {"threshold": 0.9}}),
        ("feature_sets", "tenant_from", "header:x-tenant"),
        ("events", "mapping", {"response": "$.out"}),
        ("reader", "precision", "int8"),
        ("reader", "window_tokens", 1_024),
        ("alerts", "attributes", ["tenant"]),
    ],
)
def test_what_decides_alerts_is_in_the_hash(section: str, key: str, value: object) -> None:
    assert Config().changed(**{section: {key: value}}).sha256() != Config().sha256()


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("kafka", "client_id", "latentwatch-pod-7"),
        ("kafka", "bootstrap_servers", "kafka:9092"),
        ("source", "group_id", "pod-7"),
        ("source", "topic", "x"),
        ("sinks", "otel", {"enabled": True, "resource_attributes": {"k8s.pod.name": "pod-7"}}),
        ("health", "port", 1),
        ("log", "level", "debug"),
        ("reader", "threads", 3),
        ("events", "schema_registry_url", "http://registry:8081"),
    ],
)
def test_where_and_how_fast_is_not_in_the_hash(section: str, key: str, value: object) -> None:
    assert Config().changed(**{section: {key: value}}).sha256() == Config().sha256()


def test_the_schema_is_valid_and_accepts_the_defaults() -> None:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate({})
    validator.validate(Config().model_dump(mode="json"))
    assert not validator.is_valid({"source": {"topics": "x"}})
    assert not validator.is_valid({"health": {"port": 65_536}})


def test_every_key_has_a_description_in_the_schema() -> None:
    definitions = {n: d for n, d in config_schema()["$defs"].items() if n.endswith("Config")}
    assert len(definitions) == 20
    bare = [f"{n}.{k}" for n, d in definitions.items() for k, v in d["properties"].items() if not v.get("description")]
    assert bare == []


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().source.topic = "x"
