"""Snapshots of made traffic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from monitor.drift.sketch import Sketch
from monitor.drift.snapshot import FeatureSnapshot, SetSnapshot

START = datetime(2026, 11, 1, tzinfo=UTC)


def sketch(values: Iterable[float]) -> Sketch:
    made = Sketch()
    for value in values:
        made.add(value)
    return made


def snapshot(
    *,
    hour: int = 0,
    scores: Sequence[float] = (0.1,) * 1000,
    fired: int = 20,
    active: int = 100,
    set_id: str = "bias",
    model: str | None = None,
    tenant: str | None = None,
    instance: str = "one",
    set_sha256: str = "a" * 64,
    threshold: float = 0.5,
) -> SetSnapshot:
    start = START + timedelta(hours=hour)
    feature = FeatureSnapshot(index=7, label="slurs", active=active, strengths=sketch([2.0] * active).data())
    return SetSnapshot(
        format="latentwatch.drift/1",
        instance=instance,
        start=start,
        end=start + timedelta(hours=1),
        model=model,
        tenant=tenant,
        set_id=set_id,
        set_sha256=set_sha256,
        threshold=threshold,
        events=len(scores),
        fired=fired,
        scores=sketch(scores).data(),
        features=(feature,),
    )
