"""The names of a set's latents, in latents.json next to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.errors import ConfigError
from monitor.sets.labels import LABELS_FILE, Labels, Name, load_labels
from monitor.sets.load import LoadedSet


@dataclass(frozen=True)
class Imported:
    """What an import did; numbers of latents of the set."""

    named: int
    """Got this name."""
    kept: int
    """Had another name, which stays."""
    unscored: int
    """Of those named, have no score for this name yet."""
    of: int


def labels_path(loaded: LoadedSet) -> Path:
    """The file of the names of a set's latents."""
    return loaded.path.with_name(LABELS_FILE)


def add_names(loaded: LoadedSet, names: Mapping[int, Name], replace: bool) -> Imported:
    """Writes the names of the set's latents; others are ignored. `replace` also replaces other names.

    A name that is the same text as before keeps its score. Raises ConfigError if the file can't be used.
    """
    path = labels_path(loaded)
    labels = _of_sae(load_labels(path)[0], loaded, path)
    chosen: dict[int, Name] = {}
    kept = 0
    for index in loaded.shipped.indices():
        new, old = names.get(index), labels.names.get(index)
        if new is None:
            continue
        if old is not None and old.label != new.label and not replace:
            kept += 1
            continue
        same = old is not None and old.label == new.label
        chosen[index] = new.model_copy(update={"score": old.score}) if same and old is not None else new
    if chosen:
        labels.with_names(chosen).save(path)
    unscored = sum(name.score is None for name in chosen.values())
    return Imported(len(chosen), kept, unscored, len(loaded.shipped.features))


def _of_sae(labels: Labels, loaded: LoadedSet, path: Path) -> Labels:
    sae = loaded.shipped.reader.sae.sha256
    if labels.sae_sha256 not in (None, sae):
        raise ConfigError(f"{path}: sae_sha256: {labels.sae_sha256} is not the SAE of {loaded.path.name}")
    return labels.model_copy(update={"sae_sha256": sae})
