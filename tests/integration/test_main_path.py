"""Every way in and every way out, at once: real broker, real model, the sidecar as a child process."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from monitor.alerts.alert import Alert
from monitor.demo.sample_events import demo_events
from tests.brokers import AnyBroker
from tests.integration.bad_records import SECRET, BadRecord, bad_records
from tests.integration.sidecar import (
    CONSUMED,
    DEAD_LETTERED,
    EVENTS_DONE,
    READY_S,
    Sidecar,
    alerts_in,
    latentwatch,
    set_count,
    write_config,
    write_jsonl,
)
from tests.integration.stream import Outgoing, Stream

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(600)]

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TALK = f"The {SECRET} table is finished with three coats of oil, each of them dry before the next."


def native_events() -> list[dict[str, Any]]:
    shortest = sorted(demo_events(), key=lambda e: (len(e.value), e.id))[:40]
    return [json.loads(e.value) for e in shortest]


def openai_pairs() -> list[dict[str, Any]]:
    def pair(name: str, *choices: dict[str, Any]) -> dict[str, Any]:
        return {
            "request": {"model": "gpt-x", "messages": [{"role": "user", "content": "How is the table made?"}]},
            "response": {
                "id": name,
                "created": 1_767_225_600,
                "choices": [{"index": n, "message": message} for n, message in enumerate(choices)],
            },
        }

    def said(content: object, **more: object) -> dict[str, Any]:
        return {"role": "assistant", "content": content, **more}

    call = {"function": {"name": "finish", "arguments": json.dumps({"wood": SECRET, "coats": 3})}}
    return [
        pair("chat-plain", said(TALK)),
        pair("chat-choices", said(TALK), said(f"Wax is better for {SECRET}.")),
        pair("chat-parts", said([{"type": "text", "text": TALK}, {"type": "image_url"}])),
        pair("chat-tools", said(None, tool_calls=[call])),
    ]


def cloud_event(name: str, **data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": name, "source": "/chat", "type": "llm.reply", **data}


def cloud_events() -> list[dict[str, Any]]:
    body = {"prompt": "How is the table made?", "response": TALK}
    packed = base64.b64encode(json.dumps(body).encode()).decode()
    return [
        cloud_event("ce-structured", data=body, traceparent=TRACEPARENT, time="2026-01-01T00:00:00Z"),
        cloud_event("ce-packed", data_base64=packed),
        # this one travels in binary mode, its context in the headers
        cloud_event("ce-binary", data=body, traceparent=TRACEPARENT),
    ]


def good_records(events: list[dict[str, Any]]) -> list[Outgoing]:
    return [_binary(e) if e.get("id") == "ce-binary" else Outgoing(json.dumps(e).encode()) for e in events]


def _binary(event: dict[str, Any]) -> Outgoing:
    context = {name: value for name, value in event.items() if name != "data"}
    headers = tuple((f"ce_{name}", value.encode()) for name, value in context.items())
    return Outgoing(json.dumps(event["data"]).encode(), b"some-key", headers)


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    nested: object = "deep, but still read"
    for _ in range(100):
        nested = {"a": nested}
    odd = {"id": "odd", "response": f"\u0000 {SECRET} \U0001f600 \u202e end", "attributes": {"nested": nested}}
    return [*native_events(), *openai_pairs(), *cloud_events(), odd]


@pytest.fixture(scope="module")
def scanned(events: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Alert]:
    """The alerts of `latentwatch scan` on the same events, by id."""
    folder = tmp_path_factory.mktemp("scan")
    # the settings of the sidecar's config that bear on alerts
    config = write_config(folder, _Nowhere(), _NoStream())  # type: ignore[arg-type]
    file = write_jsonl(folder / "events.jsonl", events)
    done = latentwatch("scan", str(file), "-c", str(config), "-o", str(folder / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    return {alert.id: alert for alert in alerts_in(folder / "out.jsonl")}


class _Nowhere:
    bootstrap_servers = "127.0.0.1:1"


class _NoStream:
    events = alerts = dead_letters = group = "none"


def test_everything_arrives_where_it_belongs(
    broker: AnyBroker, stream: Stream, events: list[dict[str, Any]], scanned: dict[str, Alert], tmp_path: Path
) -> None:
    bad = bad_records()
    good = good_records(events)
    # bad ones first, last and in between
    records: list[Outgoing | BadRecord] = [bad[0]]
    for n, record in enumerate(good):
        records += [record, bad[1 + n]] if n < len(bad) - 1 else [record]
    places = stream.publish(
        [Outgoing(r.value, r.name.encode(), (("own", b"header"),)) if isinstance(r, BadRecord) else r for r in records]
    )
    place_of = {r.name: place for r, place in zip(records, places, strict=True) if isinstance(r, BadRecord)}
    event_count = len(events) + 1  # one pair has two choices

    config = write_config(tmp_path, broker, stream, {"source": {"max_poll_records": 16}})
    with Sidecar(config) as sidecar:
        sidecar.until(lambda: sidecar.get("/livez")[0] == 200, "live", READY_S)
        status, body = sidecar.get("/readyz")
        assert (status, len(json.loads(body)["reasons"])) == (503, 1)
        assert re.match(r"loading \([12] of 4: ", json.loads(body)["reasons"][0])
        sidecar.wait_ready(READY_S)
        assert json.loads(sidecar.get("/readyz")[1]) == {"status": "ok", "reasons": []}
        sidecar.until(stream.all_committed, "everything committed")
        sidecar.until(lambda: sidecar.metric(DEAD_LETTERED) == len(bad), "the last batch counted")
        assert sidecar.metric(EVENTS_DONE) == event_count
        assert sidecar.metric(CONSUMED) == len(records)
        assert sidecar.metric("latentwatch_lag") == 0
        counted = {s.labels["error_type"]: s.value for s in sidecar.samples(DEAD_LETTERED)}
        assert +Counter(counted) == Counter(b.kind for b in bad)
        assert sidecar.metric("latentwatch_alerts_total") == len(scanned)
        by_sink = {s.labels["latentwatch_sink"]: s.value for s in sidecar.samples("latentwatch_sink_alerts_total")}
        assert by_sink == {"kafka": len(scanned), "jsonl": len(scanned), "dead_letter": len(bad)}
        assert sidecar.get("/livez")[0] == 200
        assert sidecar.stop(30) == 0

    _check_dead_letters(stream, {b.name: b for b in bad}, place_of)
    _check_alerts(stream, alerts_in(tmp_path / "alerts.jsonl"), scanned, event_count)
    _check_silence(sidecar.log.read_text(), events)


def _check_dead_letters(stream: Stream, bad: dict[str, BadRecord], place_of: dict[str, tuple[int, int]]) -> None:
    refused = stream.refused()
    assert sorted(r.key.decode() for r in refused) == sorted(bad)
    for record in refused:
        told = {name.removeprefix("latentwatch-"): value.decode() for name, value in record.headers}
        expected = bad[record.key.decode()]
        assert expected.reason in told["reason"], expected.name
        assert told["path"] == expected.path, expected.name
        assert (told["topic"], int(told["partition"]), int(told["offset"])) == (
            stream.events,
            *place_of[expected.name],
        ), expected.name
        assert told["own"] == "header"
        if "original-sha256" in told:  # more than this broker takes
            assert expected.value is not None
            assert len(expected.value) > 1_000_000
            assert told["original-sha256"] == hashlib.sha256(expected.value).hexdigest()
            assert int(told["original-bytes"]) == len(expected.value)
            assert expected.value.startswith(record.value)
            assert len(record.value) > 100_000
        else:
            assert record.value == expected.value, expected.name


def _check_alerts(stream: Stream, in_file: list[Alert], scanned: dict[str, Alert], event_count: int) -> None:
    shown = latentwatch("alerts", "schema")
    assert shown.returncode == 0, shown.stderr
    schema = jsonschema.Draft202012Validator(json.loads(shown.stdout))
    records = stream.read(stream.alerts)
    for record in records:
        schema.validate(json.loads(record.value))
        assert record.key.decode() == json.loads(record.value)["event"]["id"]
        assert SECRET not in record.value.decode()
    on_topic = [Alert.from_json(record.value) for record in records]
    assert len(on_topic) == len(in_file) == len(scanned) == event_count * set_count()
    assert {a.id: a for a in on_topic} == {a.id: a for a in in_file}
    for alert in on_topic:
        reference = scanned[alert.id]
        # sums in another order, with packed weights or without, now and then move a latent across its threshold
        assert alert.score == pytest.approx(reference.score, rel=1e-5, abs=5e-3)
        assert (alert.event.id, alert.set, alert.segment) == (reference.event.id, reference.set, reference.segment)
        assert alert.content is None
        evidence = [part for part in (*alert.features, alert.unnamed, alert.probe) if part is not None]
        assert evidence
        assert all(token.text is None for part in evidence for token in part.tokens)
        assert alert.traceparent == (TRACEPARENT if alert.event.id in ("ce-structured", "ce-binary") else None)


def _check_silence(log: str, events: list[dict[str, Any]]) -> None:
    assert SECRET not in log
    assert "Traceback" not in log
    for event in events:
        for line in str(event.get("response")).splitlines():
            assert len(line) < 20 or line not in log
