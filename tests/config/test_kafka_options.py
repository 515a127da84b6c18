"""kafka.options: what kafka-python can do is passed on, and the rest is refused with a hint."""

from __future__ import annotations

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from pydantic import ValidationError

from monitor.config.kafka_options import CLIENT, CONNECTION, OWN_KEYS, REFUSED
from monitor.config.sections import Config, KafkaConfig

CLIENTS = (KafkaConsumer, KafkaProducer, KafkaAdminClient)


def test_every_setting_of_the_client_is_sorted_into_one_group() -> None:
    groups = [set(CONNECTION), set(CLIENT), set(OWN_KEYS), set(REFUSED)]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert set().union(*groups) == set().union(*(client.DEFAULT_CONFIG for client in CLIENTS))


def test_what_every_client_takes_is_known_to_every_client() -> None:
    for client in CLIENTS:
        assert set(CONNECTION) <= set(client.DEFAULT_CONFIG)


def test_types_are_those_of_the_defaults() -> None:
    for name, kind in {**CONNECTION, **CLIENT}.items():
        default = next(client.DEFAULT_CONFIG[name] for client in CLIENTS if name in client.DEFAULT_CONFIG)
        assert default is None or type(default) is kind, name


@pytest.mark.parametrize("name", sorted(OWN_KEYS))
def test_the_key_to_set_instead_exists(name: str) -> None:
    for path in OWN_KEYS[name].split(" or "):
        model: object = Config()
        for step in path.split("."):
            model = model.get(step, step) if isinstance(model, dict) else getattr(model, step)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"fetch_max_byte": 1}, "options.fetch_max_byte: unknown option; did you mean fetch_max_bytes?"),
        ({"xyzzy": 1}, "options.xyzzy: unknown option"),
        ({"group_id": "g"}, "options.group_id: set source.group_id instead"),
        ({"sasl_plain_password": "p"}, "options.sasl_plain_password: set kafka.sasl_password_file instead"),
        ({"enable_auto_commit": True}, "options.enable_auto_commit: latentwatch sets this itself"),
        ({"fetch_max_bytes": "1"}, "options.fetch_max_bytes: should be a whole number"),
        ({"fetch_max_bytes": True}, "options.fetch_max_bytes: should be a whole number"),
        ({"client_rack": 1}, "options.client_rack: should be text"),
        (
            {"proxy_url": "socks5://u:p@h:1"},
            "options.proxy_url: a URL with a password belongs in a file; name it in kafka.proxy_url_file",
        ),
    ],
)
def test_what_is_refused_says_why(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        KafkaConfig.model_validate({"options": options})
    assert [e["msg"].removeprefix("Value error, ") for e in caught.value.errors()] == [problem]


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ValidationError, match=r"options\.a: unknown option; options\.b: unknown option"):
        KafkaConfig.model_validate({"options": {"a": 1, "b": 2}})


@pytest.mark.parametrize(("name", "value"), [("auth", "x"), ("a-b", "x"), ("a", ""), ("a", "\x01")])
def test_oauth_extensions_follow_the_rules_of_the_protocol(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=r"oauth_extensions\."):
        KafkaConfig.model_validate({"oauth_extensions": {name: value}})


def test_msk_needs_tls() -> None:
    with pytest.raises(ValidationError, match="AWS_MSK_IAM needs security_protocol SASL_SSL"):
        KafkaConfig(security_protocol="SASL_PLAINTEXT", sasl_mechanism="AWS_MSK_IAM")
