"""HookPoint: a place in the model with one SAE, and the feature sets that are read there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from detectors.feature_set import ReaderRef
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.sets.load import LoadedSet

_IN_BLOCK = ("attn_out", "mlp_out", "resid_post")


@dataclass(frozen=True)
class HookPoint:
    """One hook point; `name` is empty for the deepest, and begins the names of all columns of the others."""

    name: str
    ref: ReaderRef
    sae_folder: Path
    set_path: Path
    """A set that is read there."""

    def __str__(self) -> str:
        return f"layer {self.ref.layer} {self.ref.hook} with SAE {self.ref.sae.sha256[:12]}"


def hook_points(sets: Sequence[LoadedSet]) -> tuple[HookPoint, ...]:
    """The hook points that `sets` name, the deepest first."""
    distinct: list[LoadedSet] = []
    for loaded in sets:
        if not any(reads_alike(loaded.shipped.reader, known.shipped.reader) for known in distinct):
            distinct.append(loaded)
    distinct.sort(key=lambda loaded: _order(loaded.shipped.reader), reverse=True)
    return tuple(
        HookPoint(_name(loaded.shipped.reader) if n else "", loaded.shipped.reader, loaded.sae_folder, loaded.path)
        for n, loaded in enumerate(distinct)
    )


def at_hook_points(sets: Sequence[LoadedSet], points: Sequence[HookPoint]) -> tuple[LoadedSet, ...]:
    """The sets, each with the hook point that it is read at. Raises ConfigError if a set names none of `points`."""
    placed, problems = [], []
    for loaded in sets:
        name = next((point.name for point in points if reads_alike(loaded.shipped.reader, point.ref)), None)
        if name is None:
            problems.append(
                f"{loaded.path}: reader: layer {loaded.shipped.reader.layer} {loaded.shipped.reader.hook} with SAE "
                f"{loaded.shipped.reader.sae.sha256[:12]} is not read; what is read is "
                f"{', and '.join(map(str, points))}; another model, layer or SAE needs a restart"
            )
        else:
            placed.append(replace(loaded, hook_point=name))
    if problems:
        raise ConfigError(problems)
    return tuple(placed)


def reads_alike(one: ReaderRef, other: ReaderRef) -> bool:
    """Whether activations read for one are those that the other needs; only where the SAE lies may differ."""
    plain = {"sae": None}
    return (
        one.model_copy(update=plain) == other.model_copy(update=plain)
        and one.sae.sha256 == other.sae.sha256
        and one.sae.activation_basis == other.sae.activation_basis
    )


def _order(ref: ReaderRef) -> tuple[int, int, str, str, float]:
    basis = ref.sae.activation_basis
    return ref.layer, _IN_BLOCK.index(ref.hook), ref.sae.sha256, basis, ref.max_norm or 0.0


def _name(ref: ReaderRef) -> str:
    parts = [str(ref.layer), ref.hook, ref.sae.sha256, ref.sae.activation_basis, str(ref.max_norm)]
    return ".".join(parts)
