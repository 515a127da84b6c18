"""CaseRecord: how the sets last did on their cases, so that a regression is noticed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, RootModel, ValidationError

from monitor.errors import ConfigError
from monitor.lab.evaluation.cases import CaseFigures, Sample
from monitor.yaml_file import faults

RECORD_FILE = "cases.json"
"""Its name, in the folder of the sets."""
_SAME_SCORE = 0.005
"""Scores of readers in float32 differ by much less on any machine; see `moved_scores`."""
_AGAIN = "if this is intended, record it with: latentwatch lab cases --write"


class Counts(BaseModel):
    """How many positives were found and hard negatives flagged, and how many there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    positives: NonNegativeInt
    found: NonNegativeInt
    negatives: NonNegativeInt
    flagged: NonNegativeInt


class SetRecord(BaseModel):
    """The counts of one set, by name of the cases, and its scores on a sample of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    """Version of the set."""
    cases: dict[str, Counts]
    sample: dict[str, float | None] = Field(default_factory=dict)
    """Scores by row id; see cases.Sample."""


class _Sets(RootModel[dict[str, SetRecord]]):
    pass


@dataclass(frozen=True)
class CaseRecord:
    """What is recorded by set id, stored as a small JSON file."""

    sets: Mapping[str, SetRecord]

    @classmethod
    def load(cls, path: Path) -> CaseRecord:
        """Reads a record. Raises ConfigError with file, key and rule if it can't be used."""
        try:
            return cls(_Sets.model_validate_json(path.read_bytes()).root)
        except OSError as e:
            raise ConfigError(f"{path}: cannot be read: {e.strerror}; {_AGAIN}") from None
        except ValidationError as e:
            raise ConfigError(faults(path, e, "record")) from None

    def save(self, path: Path) -> None:
        """Writes a line for each name of cases and each sampled row, for diffs that are easy to read.

        Raises ConfigError if it can't.
        """
        sets = []
        for set_id, of in sorted(self.sets.items()):
            parts = {
                "version": json.dumps(of.version),
                "cases": _lines({name: counts.model_dump() for name, counts in of.cases.items()}),
                "sample": _lines(of.sample),
            }
            text = ",\n".join(f'  "{name}": {part}' for name, part in parts.items())
            sets.append(f" {json.dumps(set_id)}: {{\n{text}\n }}")
        try:
            path.write_text("{\n" + ",\n".join(sets) + "\n}\n", encoding="utf-8")
        except OSError as e:
            raise ConfigError(f"{path}: cannot be written: {e.strerror}") from None

    def with_figures(self, figures: Iterable[CaseFigures], samples: Mapping[str, Sample]) -> CaseRecord:
        """The record with new counts and samples for the sets of `figures`; other sets stay as they are."""
        return CaseRecord({**self.sets, **recorded(figures, samples).sets})

    def steps_back(self, figures: Sequence[CaseFigures]) -> list[str]:
        """One line for each set that finds fewer positives or flags more negatives than recorded.

        Also names what can't be compared: sets with another version, cases that are not recorded, and recorded cases
        that are gone.
        """
        problems = []
        for set_id, now in recorded(figures, {}).sets.items():
            then = self.sets.get(set_id)
            if then is None:
                problems.append(f"{set_id}: not recorded; {_AGAIN}")
                continue
            if then.version != now.version:
                problems.append(f"{set_id}: version {now.version}, but version {then.version} is recorded; {_AGAIN}")
            problems += [
                f"{set_id} on {name}: {fault}; {_AGAIN}"
                for name in dict.fromkeys([*then.cases, *now.cases])
                for fault in _faults(then.cases.get(name), now.cases.get(name))
            ]
        return problems

    def moved_scores(self, samples: Mapping[str, Sample]) -> list[str]:
        """One line for each set whose scores on the sample are not those that are recorded, in either direction.

        Decisions on a few rows would hide a slightly wrong reader or set; their scores don't.
        """
        problems = []
        for set_id, now in samples.items():
            then = self.sets[set_id].sample if set_id in self.sets else {}
            moved = [row for row in {**then, **now} if not _same(then.get(row), now.get(row))]
            if moved or not now:
                example = f", such as {moved[0]}: {now.get(moved[0])}, recorded {then.get(moved[0])}" if moved else ""
                problems.append(f"{set_id}: {len(moved)} of {len(now)} sampled scores differ{example}; {_AGAIN}")
        return problems


def recorded(figures: Iterable[CaseFigures], samples: Mapping[str, Sample]) -> CaseRecord:
    """The counts of `figures` and the scores of `samples`, by set id, as a record."""
    versions: dict[str, str] = {}
    counts: dict[str, dict[str, Counts]] = {}
    for f in figures:
        versions[f.set_id] = f.version
        of = Counts(positives=f.positives, found=f.found, negatives=f.negatives, flagged=f.flagged)
        counts.setdefault(f.set_id, {})[f.cases] = of
    return CaseRecord(
        {
            name: SetRecord(version=versions[name], cases=cases, sample=_rounded(samples.get(name, {})))
            for name, cases in counts.items()
        }
    )


def _lines(values: Mapping[str, object]) -> str:
    """A JSON object with one line for each key, to stand in a set's record."""
    lines = ",\n".join(f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    return f"{{\n{lines}\n  }}" if lines else "{}"


def _rounded(sample: Sample) -> dict[str, float | None]:
    return {row: None if score is None else round(score, 4) for row, score in sample.items()}


def _same(then: float | None, now: float | None) -> bool:
    if then is None or now is None:
        return then is now
    return abs(then - now) <= _SAME_SCORE


def _faults(then: Counts | None, now: Counts | None) -> list[str]:
    if then is None or now is None:
        return ["the cases are not recorded" if then is None else "the recorded cases are gone"]
    if (then.positives, then.negatives) != (now.positives, now.negatives):
        return [
            f"{now.positives} positives and {now.negatives} hard negatives, "
            f"but {then.positives} and {then.negatives} are recorded"
        ]
    faults = []
    if now.found < then.found:
        faults.append(f"{now.found} of {now.positives} positives found, {then.found} are recorded")
    if now.flagged > then.flagged:
        faults.append(f"{now.flagged} of {now.negatives} hard negatives flagged, {then.flagged} are recorded")
    return faults
