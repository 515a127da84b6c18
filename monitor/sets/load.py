"""LoadedSet: a feature set read from disk, checked together with the others, with the config's changes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from itertools import pairwise
from pathlib import Path

from pydantic import ValidationError

from detectors.detector import detector_of
from detectors.feature_set import FeatureSet, SetOverride, overridden
from monitor.errors import ConfigError
from monitor.sets.parts import READER_FILE, read_parts
from monitor.sets.probe import Probe
from monitor.yaml_file import read_bytes, rule

BUILTIN_PREFIX = "builtin:"


@dataclass(frozen=True)
class LoadedSet:
    """One feature set in use: as it is in its files (`shipped`) and with the config's changes (`set`)."""

    path: Path
    sha256: str
    """Of the YAML file and of all files that belong to the set; see `read_parts`."""
    shipped: FeatureSet
    set: FeatureSet
    probe: Probe | None = None
    """Only of a probe set."""
    listed: tuple[int, ...] = ()
    """The first features that the YAML file itself lists; thousands more may come with the weights."""
    hook_point: str = ""
    """Name of the hook point that the set is read at; empty for the deepest."""

    @property
    def sae_folder(self) -> Path:
        """The folder of the SAE that the set names, or its file if it is one of many in a folder."""
        return (self.path.parent / self.shipped.reader.sae.path).resolve()

    def columns(self) -> tuple[int | str, ...]:
        """The names of the reader's columns that the set uses, in the order of its features."""
        names = self.set.columns()
        return tuple(f"{self.hook_point}:{name}" for name in names) if self.hook_point else names


def load_feature_sets(
    paths: Iterable[str], only: Iterable[str] = (), overrides: Mapping[str, SetOverride] | None = None
) -> list[LoadedSet]:
    """The enabled sets in `paths` (files, folders of *.yaml and *.yml, or `builtin:NAME`), ordered by id.

    Raises ConfigError with every problem in every file.
    """
    problems: list[str] = []
    loaded: list[LoadedSet] = []
    for file in _files(paths, problems):
        try:
            loaded.append(load_feature_set(file))
        except ConfigError as e:
            problems.extend(e.problems)
    loaded.sort(key=lambda s: s.shipped.id)
    for first, second in pairwise(loaded):
        if first.shipped.id == second.shipped.id:
            problems.append(f"{second.path}: id: {second.shipped.id} is also the id of {first.path}")
    known = {s.shipped.id for s in loaded}
    wanted = set(only)
    overrides = overrides or {}
    if not problems:  # a set that failed to load would be reported as unknown, too
        problems += [f"feature_sets.only: no set {name}; there are {_listed(known)}" for name in sorted(wanted - known)]
        problems += [
            f"feature_sets.overrides.{name}: no such set; there are {_listed(known)}"
            for name in sorted(set(overrides) - known)
        ]
    chosen: list[LoadedSet] = []
    for item in loaded:
        override = overrides.get(item.shipped.id, SetOverride())
        if not override.enabled or (wanted and item.shipped.id not in wanted):
            continue
        try:
            chosen.append(replace(item, set=overridden(item.shipped, override)))
        except ValueError as e:
            problems.append(f"feature_sets.overrides.{item.shipped.id}: {_first_line(e)}")
    if not problems and not chosen:
        problems.append("feature_sets: no set is enabled: nothing would be detected")
    if not problems:
        problems += _differing_models(chosen)
    if problems:
        raise ConfigError(problems)
    return chosen


def load_feature_set(path: Path) -> LoadedSet:
    """One feature set as its files have it. Raises ConfigError with file, key and rule of every problem."""
    parts = read_parts(path, read_bytes(path))
    try:
        detector = detector_of(parts.feature_set)
    except ValueError as e:
        raise ConfigError(f"{path}: detector: {e}") from None
    if refusal := detector.scale.refusal(detector.threshold):
        raise ConfigError(f"{path}: threshold: {refusal}")
    return LoadedSet(path, parts.sha256, parts.feature_set, parts.feature_set, parts.probe, parts.listed)


def builtin_folder() -> Path:
    """The folder of the feature sets that ship with latentwatch."""
    return Path(str(resources.files("feature_sets")))


def files_of_sets(paths: Iterable[str]) -> Iterator[Path]:
    """The files whose change may change the sets in `paths`: all of a folder, or those next to a set's file."""
    for place in map(_place, paths):
        if not place.is_dir():
            yield from (path for path in place.parent.glob("*") if path.is_file())
            continue
        for parent, folders, names in os.walk(place):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _place(text: str) -> Path:
    if text.startswith(BUILTIN_PREFIX):
        return builtin_folder() / text.removeprefix(BUILTIN_PREFIX)
    return Path(text).expanduser()


def _files(paths: Iterable[str], problems: list[str]) -> list[Path]:
    files: list[Path] = []
    for text in paths:
        path = _place(text)
        if path.is_dir():
            found = _in_folder(path)
            if not found:
                problems.append(f"feature_sets.paths: {text}: no *.yaml or *.yml in this folder")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            problems.append(f"feature_sets.paths: {text}: no such file or folder")
    return list(dict.fromkeys(files))


def _in_folder(folder: Path) -> list[Path]:
    """Files of sets at any depth, but not in hidden folders: Kubernetes mounts a ConfigMap with ..data in it."""
    found = (path for pattern in ("*.yaml", "*.yml") for path in folder.rglob(pattern))
    return sorted(
        path
        for path in found
        if path.name != READER_FILE and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _differing_models(sets: list[LoadedSet]) -> list[str]:
    """One process runs one model, at any number of hook points; sets of another model need another sidecar."""
    first = sets[0]
    one = first.shipped.reader
    return [
        f"{s.path}: reader: is made on {other.model} with model_sha256 {other.model_sha256[:12]}, but {first.path} on "
        f"{one.model} with {one.model_sha256[:12]}; one process reads one model, so run these "
        "sets in separate processes"
        for s in sets[1:]
        if (other := s.shipped.reader).model_sha256 != one.model_sha256 or other.model != one.model
    ]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _first_line(e: ValueError) -> str:
    if isinstance(e, ValidationError):
        first = e.errors(include_url=False)[0]
        return rule(first["type"], first["msg"])
    return str(e)
