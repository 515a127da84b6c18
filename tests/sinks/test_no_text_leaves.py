"""What leaves the process by any way: no text of events without content capture, and no secrets with it."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import generate_latest

from monitor.assembly.engine import build_policy
from monitor.config.sections import Config, LogConfig
from monitor.demo.broker import EmbeddedBroker
from monitor.engine import Engine
from monitor.events.event import Event, EventLimits
from monitor.pipeline import Delivery, Pipeline, Totals
from monitor.readers.reader import Chunk
from monitor.readers.windows import WindowReader
from monitor.sets.load import LoadedSet
from monitor.sinks.dead_letter import KafkaDeadLetters
from monitor.sinks.open import close_sinks, open_sinks
from monitor.sinks.sink import SinkContext
from monitor.sinks.status import SinkStatus
from monitor.sources.kafka import KafkaSource
from monitor.telemetry.health import Health
from monitor.telemetry.log import configure_logging
from monitor.telemetry.telemetry import Telemetry
from monitor.tokens.chat_template import Segment
from monitor.tokens.tokeniser import Tokenised
from tests.alerts.test_redactor import PLANTED
from tests.feature_set_factory import make_set
from tests.http_receiver import HttpReceiver
from tests.otlp_receiver import OtlpReceiver
from tests.topics import fill, new_topic, read

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]

TEXT = "the quokka sings at dawn"
"""Stands in every part of every event that holds what was said."""
SECRETS = [secret for _, secret in PLANTED.values()]
SAID = f"{TEXT}; " + " ; ".join(SECRETS)
GOOD = [
    {
        "id": "good",
        "model": "gpt-x",
        "messages": [
            {"role": "system", "content": f"system {SAID}"},
            {"role": "assistant", "content": f"before {SAID}"},
            {"role": "tool", "content": f"tool {SAID}"},
            {"role": "user", "content": f"ask {SAID}"},
        ],
        "response": f"answer {SAID}",
        "attributes": {"note": SAID},
    },
    {"id": "unreadable", "messages": [{"role": "user", "content": SAID}], "response": f"broken {SAID}"},
]
BAD = [
    b'{"id": "cut off", "response": "' + SAID.split("\n")[0].encode(),
    SAID.encode("utf-16"),
    json.dumps({"id": "a", "messages": SAID, "response": {SAID: [SAID]}, SAID: 5}).encode(),
    json.dumps({"messages": [{"role": 5, "content": [[SAID]]}, SAID, 7], "response": [5, {"type": SAID}]}).encode(),
    json.dumps({"time": SAID, "id": [SAID], "traceparent": SAID, "model": {"a": SAID}, "response": 5}).encode(),
    json.dumps({"id": "b", SAID: 1, "response": "c"})[:-1].encode() + b", " + json.dumps(SAID).encode() + b": 2}",
    json.dumps({SAID: {SAID: SAID}}).encode(),
    json.dumps({"resourceSpans": [], SAID: SAID}).encode(),
    json.dumps([SAID, {"request": SAID, "choices": SAID}]).encode(),
    b'{"a": NaN, "response": ' + json.dumps(SAID).encode() + b"} trailing " + TEXT.encode(),
]


class Words:
    """Tokens are the words of the response; its reader finds the one feature active in each of them."""

    max_tokens = None
    cached_tokens = 0

    def tokenise(self, events: Sequence[Event]) -> list[Tokenised]:
        return [self._one(event) for event in events]

    def _one(self, event: Event) -> Tokenised:
        if "broken" in event.response:
            raise RuntimeError("the tokenizer broke")
        text = event.response
        ends = np.array([n for n, char in enumerate(f"{text} ") if char == " "], np.int32)
        starts = np.array([0, *(ends[:-1] + 1)], np.int32)
        segments = (Segment("response", 0, text, 0, len(text)),)
        ids = np.arange(1, ends.size + 1, dtype=np.int32)
        return Tokenised(event, ids, starts, ends, segments, (np.arange(ids.size),), fallback=False)

    def read(self, chunks: Sequence[Chunk]) -> list[NDArray[np.float32]]:
        return [np.full((chunk.tokens.size, 1), 9, np.float32) for chunk in chunks]

    def prefill(self, tokens: NDArray[np.int32]) -> Any:
        raise AssertionError("there is no shared prefix")


def everything_sent(broker: EmbeddedBroker, folder: Path, capture: bool) -> dict[str, bytes]:
    """What arrives at every destination from a run over the events above."""
    topics = {name: new_topic(broker, prefix=name) for name in ("events", "alerts", "dead")}
    fill(broker, topics["events"], [*(json.dumps(event).encode() for event in GOOD), *BAD])
    log = io.StringIO()
    with OtlpReceiver() as otlp, HttpReceiver() as webhook, HttpReceiver() as alertmanager:
        config = Config.model_validate(
            {
                "kafka": {"bootstrap_servers": broker.bootstrap_servers},
                "source": {"topic": topics["events"], "dead_letter_topic": topics["dead"], "poll_timeout_ms": 200},
                "alerts": {"capture_content": capture, "top_tokens": 1_000},
                "sinks": {
                    "kafka": {"topic": topics["alerts"]},
                    "jsonl": {"enabled": True, "path": str(folder / "alerts.jsonl")},
                    "otel": {"enabled": True, "endpoint": otlp.url, "required": True, "metrics_interval_s": 0.2},
                    "webhook": {"enabled": True, "url": webhook.url, "required": True},
                    "alertmanager": {"enabled": True, "url": alertmanager.url, "required": True},
                },
            }
        )
        made = make_set(features=[{"index": 3, "label": "a word", "label_score": 0.9, "threshold": 2.0}])
        words = Words()
        policy = build_policy(config, [LoadedSet(Path("s.yaml"), "a" * 64, made, made, listed=(3,))], [3])
        reader = WindowReader(cast(Any, words), window_tokens=2_000, overlap_tokens=0)
        engine = Engine(policy=policy, tokeniser=cast(Any, words), reader=reader)
        configure_logging(LogConfig(level="debug", format="json"), log)
        stop, health = threading.Event(), Health(300)
        telemetry = Telemetry(config.sinks.otel, "0", {})
        sinks = open_sinks(config.sinks, SinkContext(config.kafka, telemetry), SinkStatus(telemetry, health))
        letters = KafkaDeadLetters(config.kafka, topics["dead"])
        source = KafkaSource(config.kafka, config.source)
        delivery = Delivery(sinks, letters, EventLimits(), "auto")

        def stop_at_the_end(totals: Totals) -> None:
            if totals.records >= len(GOOD) + len(BAD):
                stop.set()

        pipeline = Pipeline(source, engine, delivery, telemetry, health, stop, stop_at_the_end)
        try:
            pipeline.run()
        finally:
            close_sinks(sinks)
            letters.close()
            source.close()
            telemetry.shutdown()
        assert pipeline.totals.alerts >= 1
        dead = read(config.kafka, topics["dead"], pipeline.totals.bad)
        return {
            "kafka": b"\n".join(
                record.value + (record.key or b"") for record in read(config.kafka, topics["alerts"], 1)
            ),
            "jsonl": (folder / "alerts.jsonl").read_bytes(),
            "otel": b"\n".join(body for path, _, body in otlp.requests if path == "/v1/logs"),
            "traces": b"\n".join(body for path, _, body in otlp.requests if path == "/v1/traces"),
            "metrics over OTLP": b"\n".join(body for path, _, body in otlp.requests if path == "/v1/metrics"),
            "metrics": generate_latest(telemetry.registry),
            "webhook": b"\n".join(request.body for request in webhook.requests),
            "alertmanager": b"\n".join(request.body for request in alertmanager.requests),
            "log": log.getvalue().encode(),
            "readiness": "\n".join(health.ready()).encode(),
            "headers of dead letters": b"\n".join(value for record in dead for _, value in record.headers),
            "values of dead letters": b"\n".join(record.value for record in dead),
        }


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def planted(text: str, body: bytes) -> bool:
    """Whether the text is in the body, as it is or as JSON writes it."""
    return any(
        form.encode() in body for form in (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    )


@pytest.mark.usefixtures("logging_as_before")
def test_without_capture_no_text_of_an_event_leaves(embedded_broker: EmbeddedBroker, tmp_path: Path) -> None:
    sent = everything_sent(embedded_broker, tmp_path, capture=False)
    # dead letters are the records as they came, on the brokers that they came from
    raw = sent.pop("values of dead letters")
    assert planted(TEXT, raw)
    assert [name for name, body in sent.items() if not body and name != "readiness"] == []
    found = {name: text for name, body in sent.items() for text in (TEXT, "quokka", *SECRETS) if planted(text, body)}
    assert found == {}


@pytest.mark.usefixtures("logging_as_before")
def test_with_capture_the_text_leaves_without_its_secrets(embedded_broker: EmbeddedBroker, tmp_path: Path) -> None:
    sent = everything_sent(embedded_broker, tmp_path, capture=True)
    del sent["values of dead letters"]
    assert {name for name, body in sent.items() if planted(TEXT, body)} == {
        "kafka",
        "jsonl",
        "otel",
        "traces",
        "webhook",
    }
    found = {name: secret for name, body in sent.items() for secret in SECRETS if planted(secret, body)}
    assert found == {}
    alert = json.loads(sent["jsonl"].splitlines()[0])
    text = alert["content"]["text"]
    assert len(text) == len(f"answer {SAID}")
    tokens = alert["features"][0]["tokens"]
    assert len(tokens) > 20
    assert [token["text"] for token in tokens] == [text[token["start"] : token["end"]] for token in tokens]
