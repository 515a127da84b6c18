"""EventTexts: the text of an alert comes from its own record in Kafka, and from no other."""

from __future__ import annotations

import json

import pytest

from monitor.alerts.alert import Alert, AlertOrigin
from monitor.config.sections import Config, KafkaConfig, SourceConfig
from monitor.errors import Permanent
from monitor.review.event_text import EventTexts
from tests.alert_factory import make_alert
from tests.brokers import AnyBroker
from tests.topics import fill, new_topic

RESPONSE = "Run it with eval( and it works."
MESSAGES = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "Run"},
]


def settings_for(servers: str, topic: str) -> Config:
    return Config(
        kafka=KafkaConfig(bootstrap_servers=servers, request_timeout_ms=3_000), source=SourceConfig(topic=topic)
    )


def alert_on(topic: str, offset: int, segment: str = "response", index: int = 0, chars: int = len(RESPONSE)) -> Alert:
    alert = make_alert()
    origin = AlertOrigin(topic=topic, partition=0, offset=offset)
    shown = alert.segment.model_copy(update={"name": segment, "index": index, "chars": chars})
    return alert.model_copy(update={"event": alert.event.model_copy(update={"origin": origin}), "segment": shown})


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_the_record_of_the_alert_has_its_text(embedded_broker: AnyBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.review.event_text._LONGEST_S", 3.0)  # not every broker says that an offset has gone
    topic = new_topic(embedded_broker)
    event = {"id": "chat-1", "messages": MESSAGES, "response": RESPONSE}
    other = {"id": "chat-2", "response": "x" * len(RESPONSE)}
    fill(embedded_broker, topic, [json.dumps(other).encode(), json.dumps(event).encode(), b"nonsense"])
    texts = EventTexts(settings_for(embedded_broker.bootstrap_servers, topic))
    found = texts.content(alert_on(topic, 1))
    assert (found.prompt, found.text, found.strengths) == ("Run", RESPONSE, ((3, 8, 1.0),))
    assert texts.content(alert_on(topic, 1, "user", 1, 3)).text == "Run"
    for alert, said in (
        (alert_on(topic, 0), "does not hold the event"),
        (alert_on(topic, 1, chars=5), "does not hold the text"),
        (alert_on(topic, 1, "user", 2, 3), "does not hold the text"),
        (alert_on(topic, 2), "cannot be read"),
        (alert_on(topic, 9), "offset 9 (has gone|did not come)"),
        (alert_on("secrets", 1), "only those of"),
    ):
        with pytest.raises(Permanent, match=said):
            texts.content(alert)
