"""Events with activations: what they must say, and that other events stay what they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import BadEvent
from monitor.events.event import Event, Origin, Record
from monitor.events.formats.activations import _Body
from monitor.events.parse import parse, recognised

DOCS = (Path(__file__).parents[3] / "docs" / "activations.md").read_text(encoding="utf-8")
SENT: dict[str, Any] = {"kind": "hidden_states", "model": "m", "layer": 3, "data": "AA=="}


def parsed(body: dict[str, Any]) -> Event:
    (event,) = parse(Record(json.dumps(body).encode(), Origin("t", 0, 7)))
    return event


def test_text_is_optional() -> None:
    event = parsed({"activations": SENT, "model": "served", "attributes": {"tenant": "a"}})
    assert (event.id, event.model, event.messages, event.response) == ("t-0-7", "served", (), "")
    assert event.attributes == {"tenant": "a"}
    assert event.activations is not None
    assert event.activations.payload.data == "AA=="


def test_tokens_spell_the_turns() -> None:
    segments = [{"role": "human", "start": 1, "end": 3}, {"role": "assistant", "start": 4, "end": 5}]
    event = parsed({"activations": {**SENT, "tokens": ["<s>", "Hi", " you", "\n", "Yes\ud800"], "segments": segments}})
    assert [(m.role, m.content) for m in event.messages] == [("user", "Hi you")]
    assert event.response == "Yes\ufffd"
    assert event.activations is not None
    assert [s.role for s in event.activations.segments or ()] == ["human", "response"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"kind": "logits"}, "$.activations.kind: input should be"),
        ({"layer": None}, "$.activations.layer: hidden_states need layer"),
        ({"layer": "3"}, "$.activations.layer: "),
        ({"model": None}, "$.activations.model_sha256: hidden_states need"),
        ({"kind": "preactivations"}, "$.activations.rows_sha256: preactivations need rows_sha256"),
        ({"kind": "preactivations", "rows_sha256": "x"}, "$.activations.rows_sha256: "),
        ({"data": None}, "needs data or file, one of them; found none"),
        ({"file": "x"}, "found data and file"),
        ({"format": "vllm_lens"}, "needs residual_stream"),
        ({"format": "vllm"}, "$.activations.layers: format vllm needs layers"),
        ({"format": "vllm", "layers": [1], "hook": "mlp_out"}, "$.activations.hook: vllm captures resid_post only"),
        ({"format": "vllm", "layers": [1, 1]}, "a layer is there twice"),
        ({"tokens": ["a"], "token_ids": [1, 2]}, "1 tokens, but 2 token_ids"),
        ({"token_ids": [True]}, "$.activations.token_ids[0]"),
        ({"token_ids": [-1]}, "$.activations.token_ids[0]"),
        ({"segments": []}, "$.activations.segments: "),
        ({"segments": [{"role": "user", "start": 2, "end": 2}]}, "$.activations.segments[0]: tokens 2 to 2"),
        (
            {"segments": [{"role": "user", "start": 0, "end": 4}, {"role": "tool", "start": 3, "end": 5}]},
            "$.activations.segments[1]: tokens 3 to 5",
        ),
        (
            {"segments": [{"role": "response", "start": 0, "end": 4}, {"role": "user", "start": 4, "end": 5}]},
            "only the last segment can be the response",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_named(changes: dict[str, Any], fault: str) -> None:
    sent = {name: value for name, value in {**SENT, **changes}.items() if value is not None}
    with pytest.raises(BadEvent) as caught:
        parsed({"activations": sent})
    assert fault in str(caught.value)


def test_a_response_of_vllm_lens_is_still_read_as_text() -> None:
    body = {"choices": [{"message": {"content": "hi"}}], "activations": {"residual_stream": {}}}
    assert recognised(body) == "openai"
    assert parsed(body).activations is None


def test_the_examples_in_the_docs_are_events() -> None:
    examples = re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)
    assert len(examples) == 3
    assert all(parsed(json.loads(text)).activations is not None for text in examples)


def test_every_field_has_a_row() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", DOCS, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented == set(_Body.model_fields)
