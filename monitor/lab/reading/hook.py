"""Hook: the model, layer and SAE that candidates come from, named by a set or by its parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detectors.feature_set import ReaderRef, SaeRef, SegmentName
from monitor.assembly.artefacts import load_model_artefacts
from monitor.assembly.engine import window_reader
from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.data.chosen_sets import with_sets
from monitor.lab.reading.residual_reader import residual_reader
from monitor.lab.reading.token_shards import ShardReader
from monitor.model.files import PACKAGE_PREFIX, ModelFiles, file_sha256, locate
from monitor.readers.cut_model import usable_device
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.formats.saelens import WEIGHTS_FILE, load_saelens
from monitor.sae.weights import SaeWeights
from monitor.sets.load import LoadedSet


@dataclass(frozen=True)
class Hook:
    """The model, layer and SAE that texts are read with. `reader` is as in a set, with an absolute path of the SAE."""

    reader: ReaderRef
    model: ModelFiles
    sae: SaeWeights
    sae_folder: Path
    segments: tuple[SegmentName, ...] | None = None
    """The segments that the set looks at, if a set names the hook."""
    loaded: LoadedSet | None = None
    """The set that names the hook."""


def hook_of_set(config: Config, name: str) -> Hook:
    """The hook of one set, checked against its hashes. Raises ConfigError if it doesn't fit."""
    artefacts = load_model_artefacts(with_sets(config, [name]))
    if len(artefacts.sets) != 1:
        ids = ", ".join(loaded.set.id for loaded in artefacts.sets)
        raise ConfigError(f"--set {name}: names several sets ({ids}); give one of them")
    loaded = artefacts.sets[0]
    reader = _at(loaded.shipped.reader, loaded.sae_folder)
    return Hook(reader, artefacts.model, artefacts.sae, loaded.sae_folder, loaded.set.segments, loaded)


def hook_of_sae(config: Config, folder: Path, layer: int, max_norm: float | None) -> Hook:
    """The hook of an SAE in SAELens layout and `reader.model`; computes their hashes.

    Raises ConfigError if one of them can't be loaded.
    """
    folder = folder.expanduser().resolve()
    sae = load_saelens(folder)
    name, settings = config.reader.model, config.reader
    model = locate(name, settings.revision, settings.cache_dir)
    sae_ref = SaeRef(path=str(folder), sha256=file_sha256(folder / WEIGHTS_FILE), width=sae.d_sae)
    shown = name.removeprefix(PACKAGE_PREFIX)
    reader = ReaderRef(
        model=Path(shown).name if Path(shown).is_dir() else shown,
        model_sha256=model.sha256,
        layer=layer,
        max_norm=max_norm,
        sae=sae_ref,
    )
    return Hook(reader, model, sae, folder)


def shard_reader(hook: Hook, config: Config, cache: Path, latents: Sequence[int] | None = None) -> ShardReader:
    """Reads rows at the hook, with the precision and device of the config, into `cache`; only `latents` if given."""
    settings, ref = config.reader, hook.reader
    reader = residual_reader(config, hook.model.folder, ref.layer)
    if reader.d_model != hook.sae.d_in:
        raise ConfigError(
            f"{hook.sae_folder}: d_in is {hook.sae.d_in}, but the residual stream of {hook.model.folder} has width "
            f"{reader.d_model}; the SAE belongs to another model"
        )
    tokeniser = build_tokeniser(config, hook.model)
    device = usable_device(settings.device)
    chosen = None if latents is None else np.array(sorted(set(latents)), dtype=np.int32)
    only = "" if chosen is None else f" only {hashlib.sha256(chosen.tobytes()).hexdigest()}"
    return ShardReader(
        reader=window_reader(config, tokeniser, reader),
        d_model=reader.d_model,
        encoder=CuratedEncoder(
            hook.sae, range(hook.sae.d_sae) if chosen is None else chosen.tolist(), ref.sae.activation_basis, device
        ),
        latents=chosen,
        tokeniser=tokeniser,
        max_norm=ref.max_norm,
        key=f"{ref.model_sha256} {ref.sae.sha256} {ref.sae.activation_basis} {ref.layer} {ref.max_norm} "
        f"{settings.dtype} {settings.window_tokens} {settings.overlap_tokens} {_template(config)}{only}",
        folder=cache,
    )


def _at(reader: ReaderRef, sae_folder: Path) -> ReaderRef:
    return reader.model_copy(update={"sae": reader.sae.model_copy(update={"path": str(sae_folder)})})


def _template(config: Config) -> str:
    """The hash of a configured chat template, because it changes the tokens; empty if none is configured."""
    file = config.reader.chat_template
    return file_sha256(file) if file is not None and file.is_file() else ""
