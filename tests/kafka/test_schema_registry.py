"""Schemas come from a registry over real HTTP: each once, verified, and no answer stops the loop for good."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.config.sections import EventsConfig
from monitor.errors import BadEvent, ConfigError, Retryable
from monitor.kafka.schema_registry import SchemaRegistry
from tests.certificates import Authority
from tests.events.avro_records import EVENT, MESSAGE, VALUE, encoded
from tests.kafka.registry_server import Registry, schema_registry


@pytest.fixture
def server() -> Iterator[Registry]:
    with schema_registry() as state:
        yield state


@pytest.fixture
def registry(server: Registry) -> Iterator[SchemaRegistry]:
    made = opened(server)
    yield made
    made.close()


def opened(server: Registry, **more: Any) -> SchemaRegistry:
    return SchemaRegistry(EventsConfig.model_validate({"schema_registry_url": server.url, **more}))


def refusal(registry: SchemaRegistry, schema_id: int) -> str:
    with pytest.raises(BadEvent) as caught:
        registry.decoders({schema_id})[schema_id](b"", Counter())
    assert caught.value.kind == "encoding"
    return caught.value.reason


def test_each_schema_is_asked_for_once(server: Registry, registry: SchemaRegistry) -> None:
    server.add(7, EVENT)
    for _ in range(2):
        assert registry.decoders({7})[7](encoded(), Counter())["response"] == "Hello"
    assert server.asked == [("schemas/ids/7", None)]


def test_an_unknown_id_is_named_and_not_asked_for_again_at_once(server: Registry, registry: SchemaRegistry) -> None:
    assert refusal(registry, 9) == refusal(registry, 9) == "the schema registry has no schema 9"
    assert len(server.asked) == 1


def test_an_unknown_id_is_asked_for_again_later(
    server: Registry, registry: SchemaRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.kafka.schema_registry._ASK_AGAIN_S", -1.0)
    refusal(registry, 7)
    server.add(7, EVENT)
    assert registry.decoders({7})[7](encoded(), Counter())["id"] == "e1"


def test_payloads_of_another_schema_name_it(server: Registry, registry: SchemaRegistry) -> None:
    server.add(7, EVENT)
    assert refusal(registry, 7).startswith("schema 7: not Avro of this schema: EOFError")


def test_json_schemas_and_protobuf(server: Registry, registry: SchemaRegistry) -> None:
    server.add(1, {}, schemaType="JSON")
    server.add(2, "syntax", schemaType="PROTOBUF")
    assert registry.decoders({1})[1](b' {"a": 1}', Counter()) == {"a": 1}
    assert refusal(registry, 2) == "schema 2 is PROTOBUF: only JSON and Avro are read in a schema registry's frame"


def test_references_to_other_schemas(server: Registry, registry: SchemaRegistry) -> None:
    messages = {"name": "messages", "type": {"type": "array", "items": "chat.Message"}}
    outer = {"type": "record", "name": "Outer", "fields": [messages]}
    reference = {"name": "chat.Message", "subject": "chat/message", "version": 3}
    server.add(5, outer, references=[reference])
    assert "refers to chat/message version 3, which the registry doesn't have" in refusal(registry, 5)
    server.add(6, outer, references=[reference])
    server.schemas["subjects/chat%2Fmessage/versions/3"] = {"schema": json.dumps(MESSAGE)}
    value = {"messages": VALUE["messages"]}
    assert registry.decoders({6})[6](encoded(value, outer, [MESSAGE]), Counter()) == value


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"schema": "{"}, "schema 1 can't be used: it is not JSON"),
        ({"schema": '"nothing"'}, "schema 1 can't be used: not an Avro schema"),
        ({"schema": '{"type": "array", "items": "null"}'}, "an array whose items take no bytes"),
        ({"schema": '"string"', "references": 5}, "its references are no list"),
        ({"schema": '"string"', "references": [{"subject": 5}]}, "a reference has no subject and version"),
        ({"schema": '"string"', "more": "x" * 2_000_000}, "it has more than 2000000 bytes"),
    ],
)
def test_schemas_that_cannot_be_used_refuse_their_records_only(
    server: Registry, registry: SchemaRegistry, answer: dict[str, Any], reason: str
) -> None:
    server.schemas["schemas/ids/1"] = answer
    assert reason in refusal(registry, 1)


def test_references_in_a_circle_end(server: Registry, registry: SchemaRegistry) -> None:
    for n in range(3):
        to = {"subject": f"s{(n + 1) % 3}", "version": 1}
        server.schemas[f"subjects/s{n}/versions/1"] = {"schema": '"string"', "references": [to]}
    server.add(1, "string", references=[{"subject": "s0", "version": 1}])
    assert "refers to more than 100 schemas" in refusal(registry, 1)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((500, b"{}"), "HTTP 500"),
        ((401, b"{}"), "HTTP 401"),
        ((302, b""), "HTTP 302"),
        ((404, b"<html>"), "HTTP 404"),
        ((200, b"<html>"), "the answer holds no schema"),
    ],
)
def test_what_is_not_a_registry_s_answer_is_tried_again(
    server: Registry, registry: SchemaRegistry, answer: tuple[int, bytes], reason: str
) -> None:
    server.answer = answer
    with pytest.raises(Retryable) as caught:
        registry.decoders({7})
    assert str(caught.value) == f"events.schema_registry_url: {server.url}: {reason}"
    server.answer = None
    server.add(7, EVENT)
    assert registry.decoders({7})


def test_a_registry_that_is_down() -> None:
    with schema_registry() as server:
        registry = opened(server)
    with pytest.raises(Retryable, match="Connection refused"):
        registry.decoders({7})


def test_passwords_and_tokens_are_read_for_every_request(authority: Authority, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one\n")
    with schema_registry(authority.issue("registry", hosts=("localhost",))) as server:
        common = {"schema_registry_cafile": authority.ca_file}
        basic = opened(server, **common, schema_registry_username="me", schema_registry_password_file=secret)
        token = opened(server, **common, schema_registry_token_file=secret)
        basic.decoders({1})
        secret.write_text("two\n")
        token.decoders({1})
        secret.unlink()
        with pytest.raises(Retryable, match=r"schema_registry_password_file: .*No such file"):
            basic.decoders({2})
        with pytest.raises(Retryable, match="CERTIFICATE_VERIFY_FAILED"):
            opened(server).decoders({1})
        for made in (basic, token):
            made.close()
    assert [sent for _, sent in server.asked] == [f"Basic {base64.b64encode(b'me:one').decode()}", "Bearer two"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"schema_registry_url": "registry:8081"}, "expected http://HOST"),
        ({"schema_registry_url": "https://me:pass@registry"}, "no user name and password here"),
        ({"schema_registry_url": "https://r", "schema_registry_username": "me"}, "needs schema_registry_password_file"),
        (
            {"schema_registry_url": "http://r", "schema_registry_token_file": "t"},
            "only https:// keeps the password or token safe",
        ),
        (
            {
                "schema_registry_url": "https://r",
                "schema_registry_token_file": "t",
                "schema_registry_username": "me",
                "schema_registry_password": "x",
            },
            "a token or a user name, not both",
        ),
    ],
)
def test_configs_that_are_refused(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        EventsConfig().changed(**config)


def test_missing_files_stop_the_start() -> None:
    config = EventsConfig(schema_registry_url="https://r", schema_registry_cafile=Path("/missing"))
    with pytest.raises(ConfigError, match=r"events\.schema_registry_cafile: /missing: no such file"):
        SchemaRegistry(config)


def test_without_the_extra_the_start_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'latentwatch\[avro\]'"):
        SchemaRegistry(EventsConfig(schema_registry_url="https://r"))
