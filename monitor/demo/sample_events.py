"""The labelled events that ship with latentwatch, for the demo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from monitor.report.summary import Label


@dataclass(frozen=True)
class DemoEvent:
    """One event as it goes onto the topic, and what it was written to be."""

    id: str
    value: bytes
    label: Label


def demo_events() -> tuple[DemoEvent, ...]:
    """All of them, in file order: everyday chat, look-alikes of risky chat, and risky chat of every category."""
    lines = resources.files("monitor.demo").joinpath("demo_events.jsonl").read_bytes().split(b"\n")
    return tuple(_event(line) for line in lines if line.strip())


def _event(line: bytes) -> DemoEvent:
    body = json.loads(line)
    attributes = body["attributes"]
    return DemoEvent(body["id"], line, Label(expected=attributes["expected"], kind=attributes["kind"]))
