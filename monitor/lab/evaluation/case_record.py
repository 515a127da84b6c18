"""CaseRecord: how the sets last did on their cases, so that a regression is noticed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, NonNegativeInt, RootModel, ValidationError

from monitor.errors import ConfigError
from monitor.lab.evaluation.cases import CaseFigures
from monitor.yaml_file import faults

RECORD_FILE = "cases.json"
"""Its name, in the folder of the sets."""
_AGAIN = "if this is intended, record it with: latentwatch lab cases --write"


class Counts(BaseModel):
    """How many positives were found and hard negatives flagged, and how many there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    positives: NonNegativeInt
    found: NonNegativeInt
    negatives: NonNegativeInt
    flagged: NonNegativeInt


class SetCounts(BaseModel):
    """The counts of one set, by name of the cases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    """Version of the set."""
    cases: dict[str, Counts]


class _Sets(RootModel[dict[str, SetCounts]]):
    pass


@dataclass(frozen=True)
class CaseRecord:
    """Counts by set id, stored as a small JSON file."""

    sets: Mapping[str, SetCounts]

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
        """Writes one line for each name of cases, so that a diff is easy to read. Raises ConfigError if it can't."""
        sets = []
        for set_id, of in sorted(self.sets.items()):
            lines = [f"   {json.dumps(name)}: {json.dumps(counts.model_dump())}" for name, counts in of.cases.items()]
            cases = ",\n".join(lines)
            version = json.dumps(of.version)
            sets.append(f' {json.dumps(set_id)}: {{\n  "version": {version},\n  "cases": {{\n{cases}\n  }}\n }}')
        try:
            path.write_text("{\n" + ",\n".join(sets) + "\n}\n", encoding="utf-8")
        except OSError as e:
            raise ConfigError(f"{path}: cannot be written: {e.strerror}") from None

    def with_figures(self, figures: Iterable[CaseFigures]) -> CaseRecord:
        """The record with new counts for the sets of `figures`; other sets stay as they are."""
        return CaseRecord({**self.sets, **recorded(figures).sets})

    def steps_back(self, figures: Sequence[CaseFigures]) -> list[str]:
        """One line for each set that finds fewer positives or flags more negatives than recorded.

        Also names what can't be compared: sets with another version, cases that are not recorded, and recorded cases
        that are gone.
        """
        problems = []
        for set_id, now in recorded(figures).sets.items():
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


def recorded(figures: Iterable[CaseFigures]) -> CaseRecord:
    """The counts of `figures` as a record."""
    versions: dict[str, str] = {}
    counts: dict[str, dict[str, Counts]] = {}
    for f in figures:
        versions[f.set_id] = f.version
        of = Counts(positives=f.positives, found=f.found, negatives=f.negatives, flagged=f.flagged)
        counts.setdefault(f.set_id, {})[f.cases] = of
    return CaseRecord({name: SetCounts(version=versions[name], cases=cases) for name, cases in counts.items()})


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
