"""Hook: the model, layer and SAE that candidates come from, named by a set or by its parts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from detectors.feature_set import HookName, ReaderRef, SaeRef, SegmentName
from monitor.assembly.artefacts import load_model_artefacts
from monitor.assembly.engine import window_reader
from monitor.assembly.tokeniser import build_tokeniser
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.data.chosen_sets import with_sets
from monitor.lab.reading.residual_reader import hook_key, residual_reader
from monitor.lab.reading.token_shards import ShardReader
from monitor.model.files import PACKAGE_PREFIX, ModelFiles, file_sha256, locate
from monitor.readers.cut_model import usable_device
from monitor.sae.belonging import differences, notes
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.sae_format import SAE_FORMATS, detected_format
from monitor.sae.weights import SaeWeights
from monitor.sets.load import LoadedSet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hook:
    """The model, layer and SAE that texts are read with. `reader` is as in a set, with an absolute path of the SAE."""

    reader: ReaderRef
    model: ModelFiles
    sae: SaeWeights
    sae_folder: Path
    """The folder or the file of the SAE."""
    segments: tuple[SegmentName, ...] | None = None
    """The segments that the set looks at, if a set names the hook."""
    loaded: LoadedSet | None = None
    """The set that names the hook."""

    def decoder_rows(self, latents: Sequence[int]) -> Tensor | None:
        """The decoder rows [latent, d] of `latents`; None if the SAE has none at this hook point."""
        whole = SAE_FORMATS.load(self.reader.sae.format).load(self.sae_folder)
        if whole.w_dec is None or whole.transcoder:
            return None
        return torch.from_numpy(whole.w_dec[list(latents)])


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
    """The hook of an SAE in any built-in format and `reader.model`; computes their hashes.

    Raises ConfigError if one of them can't be loaded, or if the SAE's files say that it belongs elsewhere.
    """
    folder = folder.expanduser().resolve()
    name_of_format = detected_format(folder)
    sae_format = SAE_FORMATS.load(name_of_format)
    sae = sae_format.load(folder).without_decoder()
    name, settings = config.reader.model, config.reader
    model = locate(name, settings.revision, settings.cache_dir)
    sha256 = sae_format.sha256(folder)
    sae_ref = SaeRef(format=name_of_format, path=str(folder), sha256=sha256, width=sae.d_sae)
    shown = name.removeprefix(PACKAGE_PREFIX)
    reader = ReaderRef(
        model=_name(shown),
        model_sha256=model.sha256,
        layer=layer,
        hook=_hook_name(sae),
        max_norm=max_norm,
        sae=sae_ref,
    )
    if different := differences(sae, reader):
        raise ConfigError(f"--sae {folder}: {problem}" for problem in different)
    for note in notes(sae, reader):
        log.info("%s: %s", folder, note)
    return Hook(reader, model, sae, folder)


def _name(model: str) -> str:
    """What a set calls the model: the name of its folder, or that of its file without the ending."""
    path = Path(model)
    if path.is_file():
        return path.stem
    return path.name if path.is_dir() else model


def _hook_name(sae: SaeWeights) -> HookName:
    """The hook point that the SAE's files name, if readers have it; else the output of the block."""
    hook = None if sae.origin is None or sae.origin.hook is None else sae.origin.hook.read_as
    names: tuple[HookName, ...] = get_args(HookName)
    return next((name for name in names if hook is not None and hook.kind == name), "resid_post")


def shard_reader(hook: Hook, config: Config, cache: Path, latents: Sequence[int] | None = None) -> ShardReader:
    """Reads rows at the hook, with the precision and device of the config, into `cache`; only `latents` if given."""
    settings, ref = config.reader, hook.reader
    reader = residual_reader(config, hook.model.folder, ref.layer, ref.hook)
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
        key=f"{ref.model_sha256} {ref.sae.sha256} {ref.sae.activation_basis} {hook_key(ref)} {ref.max_norm} "
        f"{settings.dtype} {settings.window_tokens} {settings.overlap_tokens} {_template(config)}{only}",
        folder=cache,
    )


def _at(reader: ReaderRef, sae_folder: Path) -> ReaderRef:
    return reader.model_copy(update={"sae": reader.sae.model_copy(update={"path": str(sae_folder)})})


def _template(config: Config) -> str:
    """The hash of a configured chat template, because it changes the tokens; empty if none is configured."""
    file = config.reader.chat_template
    return file_sha256(file) if file is not None and file.is_file() else ""
