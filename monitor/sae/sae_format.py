"""SaeFormat: how the files of an SAE are laid out, and the registry of layouts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from detectors.feature_set import SaeRef
from detectors.registry import Registry, RegistryError
from monitor.errors import ConfigError
from monitor.model.files import file_sha256
from monitor.sae.weights import SaeWeights


@dataclass(frozen=True)
class SaeFormat:
    """One layout of an SAE's folder."""

    weights_files: tuple[str, ...]
    """Names of the files that a set's `reader.sae.sha256` stands for."""
    load: Callable[[Path], SaeWeights]
    """Reads the encoder in a folder, in float32. Raises ConfigError naming file, key and rule."""

    def sha256(self, folder: Path) -> str:
        """Identifies the weights: hash of the one file, or of the concatenated hashes of several.

        Raises ConfigError if one is missing.
        """
        files = [folder / name for name in self.weights_files]
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise ConfigError(f"{file}: no such file" for file in missing)
        hashes = [file_sha256(file) for file in files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


SAE_FORMATS: Registry[SaeFormat] = Registry(
    "SAE format",
    "latentwatch.sae_formats",
    {"saelens": "monitor.sae.formats.saelens:SAELENS"},
    members=("weights_files", "load", "sha256"),
)


def load_sae(folder: Path, ref: SaeRef, named_by: Path) -> SaeWeights:
    """The SAE in `folder`, checked against the feature set in `named_by`. Raises ConfigError."""
    try:
        sae_format = SAE_FORMATS.load(ref.format)
    except RegistryError as e:
        raise ConfigError(f"{named_by}: reader.sae.format: {e}") from None
    try:
        found = sae_format.sha256(folder)
    except ConfigError as e:
        raise ConfigError(f"{named_by}: reader.sae.path: {problem}" for problem in e.problems) from None
    if found != ref.sha256:
        files = ", ".join(str(folder / name) for name in sae_format.weights_files)
        raise ConfigError(f"{files}: sha256 is {found}, but {named_by} was made with {ref.sha256}")
    sae = sae_format.load(folder)
    if sae.d_sae != ref.width:
        raise ConfigError(f"{named_by}: reader.sae.width: {ref.width}, but the SAE has {sae.d_sae} latents")
    return sae
