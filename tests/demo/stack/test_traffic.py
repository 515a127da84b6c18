"""Sample traffic: new ids, several tenants, canaries, and now and then a record that is no event."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import yaml

from monitor.demo.stack.traffic import CANARY_TENANT, TENANTS, SampleTraffic
from monitor.errors import BadEvent
from monitor.events.event import Event, Origin, Record
from monitor.events.parse import parse
from tests.observability.files import rules


class Written:
    """Stands in for DemoTopics, and keeps what is published."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes]] = []

    def publish(self, topic: str, records: Sequence[tuple[str, bytes]]) -> dict[int, int]:
        assert topic == "llm.events"
        self.records += records
        return {0: len(records)}


def sent(count: int, start: str = "run") -> list[tuple[str, bytes]]:
    topics = Written()
    traffic = SampleTraffic(topics, "llm.events", start)
    for _ in range(count):
        traffic.send()
    return topics.records


def test_every_record_has_an_id_of_its_own() -> None:
    records = sent(300, "one") + sent(300, "two")
    assert len({key for key, _ in records}) == len(records)


def test_of_a_hundred_records_four_are_canaries_and_one_is_no_event() -> None:
    tenants: Counter[str] = Counter()
    for key, value in sent(100):
        try:
            parsed = parse(Record(value, Origin("llm.events", 0, 0)))
        except BadEvent:
            tenants["no event"] += 1
            continue
        (event,) = parsed
        assert isinstance(event, Event)
        assert event.id == key
        tenants[json.loads(value)["attributes"]["tenant"]] += 1
    assert tenants.pop("no event") == 1
    assert tenants.pop(CANARY_TENANT) == 4
    assert set(tenants) == set(TENANTS)


def test_a_canary_has_the_tenant_that_its_rule_asks_for() -> None:
    topics = Written()
    SampleTraffic(topics, "llm.events", "run").send_canary("mine")
    ((key, value),) = topics.records
    assert key == "run-mine"
    assert json.loads(value)["attributes"]["tenant"] == CANARY_TENANT
    (rule,) = (rule for rule in rules() if rule.get("alert") == "LatentwatchCanarySilent")
    assert f'latentwatch_attribute_tenant="{CANARY_TENANT}"' in yaml.safe_dump(rule, width=1_000)
