"""docs/mapping.md: each config is loaded as it stands there and reads the record below it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from monitor.config.load import load_config
from monitor.config.mapping import MappingConfig
from monitor.config.sections import EventsConfig
from monitor.errors import BadEvent
from monitor.events.event import Event, Origin, Record
from monitor.events.parse import parse

DOCS = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n\n```json\n(.*?)```", DOCS, re.DOTALL)
GATEWAYS = re.findall(
    r"^### (.*?)\n(?:(?!^###).)*?```yaml\n(.*?)```\n\n```json\n(.*?)```", DOCS, re.DOTALL | re.MULTILINE
)
IDS = {"Kong": "req-1", "APISIX": "req-2", "LiteLLM": "chatcmpl-3", "Amazon Bedrock": "req-4"}
BUILT_IN = {"Kong": "kong", "APISIX": "apisix", "LiteLLM": "litellm"}


def loaded(text: str, folder: Path) -> EventsConfig:
    path = folder / "latentwatch.yaml"
    path.write_text(text)
    return load_config(path, {}).events


def record(text: str) -> Record:
    return Record(text.encode(), Origin("t", 0, 0), headers=(("tenant", b"acme"),))


def read(config: EventsConfig, text: str) -> Event:
    (event,) = parse(record(text), config.limits, config.body_format())
    return event


def said(event: Event) -> tuple[list[tuple[str, str]], str]:
    return [(m.role, m.content) for m in event.messages], event.response


def test_the_page_has_an_example_and_four_gateways() -> None:
    assert len(EXAMPLES) == 5
    assert [title.split(":")[0] for title, _, _ in GATEWAYS] == list(IDS)


def test_the_first_example(tmp_path: Path) -> None:
    event = read(loaded(EXAMPLES[0][0], tmp_path), EXAMPLES[0][1])
    turns = [("user", "Where is my parcel?"), ("assistant", "May I have its number?"), ("user", "It is 4711.")]
    assert said(event) == (turns, "It arrives tomorrow.")
    assert (event.id, event.model, event.repaired, event.unread) == ("c-17", "gpt-x", {}, {})
    assert event.attributes == {"conversation_id": "d-4", "tenant": "acme"}
    assert event.time is not None


def test_the_refused_example_is_refused_with_the_message_below_it(tmp_path: Path) -> None:
    found = re.search(r"```json invalid\n(.*?)```\n\n`(.*?)`", DOCS, re.DOTALL)
    assert found is not None
    with pytest.raises(BadEvent) as caught:
        read(loaded(EXAMPLES[0][0], tmp_path), found[1])
    assert str(caught.value) == found[2]


@pytest.mark.parametrize(("title", "config", "body"), GATEWAYS, ids=lambda value: str(value)[:20])
def test_each_gateway(title: str, config: str, body: str, tmp_path: Path) -> None:
    event, name = read(loaded(config, tmp_path), body), title.split(":")[0]
    assert said(event) == ([("user", "How do I prune a pear tree?")], "In late winter.")
    assert (event.id, event.model, event.attributes["tenant"]) == (IDS[name], "gpt-x-2025-05", "acme")
    assert event.time is not None
    assert event.time.year == 2025
    if name in BUILT_IN:
        (built_in,) = parse(record(body))
        assert (said(event), event.id, event.time) == (said(built_in), built_in.id, built_in.time)


@pytest.mark.parametrize(("title", "config", "body"), GATEWAYS, ids=lambda value: str(value)[:20])
def test_a_call_without_a_response_is_read_as_well(title: str, config: str, body: str, tmp_path: Path) -> None:
    event = read(loaded(config, tmp_path), json.dumps(_without_answer(json.loads(body))))
    assert said(event) == ([("user", "How do I prune a pear tree?")], "")


def _without_answer(body: dict[str, object]) -> dict[str, object]:
    if isinstance(body.get("ai"), dict):
        text = json.dumps(body).replace("choices", "error")
        return dict(json.loads(text))
    return {key: value for key, value in body.items() if key not in ("llm_response_text", "response", "output")}


def test_every_key_is_spoken_of() -> None:
    text = DOCS[DOCS.index("```yaml") :]
    assert [key for key in MappingConfig.model_fields if f"{key}:" not in text and f"`{key}`" not in text] == []
