"""LabelledRow: one labelled example, as lab data files hold them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from detectors.feature_set import SegmentName
from monitor.errors import ConfigError
from monitor.events import Event, Message, Origin


class LabelledRow(BaseModel):
    """One line of a JSONL data file. `label` is 1 on the risky side; rows of one `pair` differ in the label alone."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    prompt: str = ""
    response: str = ""
    label: Literal[0, 1]
    label_of: str = ""
    """Which text the label is about: prompt, response, pair or text."""
    pair: str | None = None
    source: str = ""

    @property
    def labelled_segment(self) -> SegmentName:
        """The segment that the label is about; the other one where that is empty."""
        first: SegmentName = "user" if self.label_of == "prompt" and self.prompt else "response"
        if first == "response" and not self.response:
            first = "user"
        return first

    @property
    def cluster(self) -> str:
        """What must stay together when rows are split or resampled."""
        return self.pair or self.id

    def event(self, number: int) -> Event:
        """The row as the traffic that a sidecar would see."""
        messages = (Message("user", self.prompt),) if self.prompt else ()
        return Event(id=self.id, messages=messages, response=self.response, origin=Origin("lab", 0, number))


def load_rows(path: Path, limit: int | None = None, seed: int = 0) -> list[LabelledRow]:
    """The rows of a JSONL file; where there are more than `limit`, whole clusters drawn with `seed`.

    Raises ConfigError with file and line of the first row that is not one.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    rows: list[LabelledRow] = []
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                rows.append(LabelledRow.model_validate_json(line))
        except ValidationError as e:
            error = e.errors(include_url=False)[0]
            key = ".".join(str(step) for step in error["loc"])
            raise ConfigError(f"{path}:{number}: {key}: {error['msg']}") from None
    if limit is None or len(rows) <= limit:
        return rows
    clusters: dict[str, list[LabelledRow]] = {}
    for row in rows:
        clusters.setdefault(row.cluster, []).append(row)
    order = sorted(clusters)
    random.Random(seed).shuffle(order)  # noqa: S311 - a sample, not a secret
    drawn: list[LabelledRow] = []
    for cluster in order:
        if len(drawn) >= limit:
            break
        drawn += clusters[cluster]
    return drawn
