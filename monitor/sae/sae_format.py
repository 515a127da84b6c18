"""SaeFormat: how the files of an SAE are laid out, and the registry of layouts."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from detectors.feature_set import ReaderRef
from detectors.registry import Registry, RegistryError
from monitor.errors import ConfigError
from monitor.model.files import file_sha256
from monitor.sae.belonging import differences, notes
from monitor.sae.formats.weights_file import weights_file
from monitor.sae.weights import SaeWeights

log = logging.getLogger(__name__)


def _never(_: Path) -> bool:
    return False


@dataclass(frozen=True)
class SaeFormat:
    """One layout of an SAE's files."""

    weights_files: tuple[str, ...]
    """The files that a set's `reader.sae.sha256` stands for: names, or a pattern if one folder holds many SAEs."""
    load: Callable[[Path], SaeWeights]
    """Reads the SAE in a folder or file, in float32. Raises ConfigError naming file, key and rule."""
    recognises: Callable[[Path], bool] = _never
    """Whether a folder or file looks like this layout, for commands that aren't told; by default never."""
    optional_files: tuple[str, ...] = ()
    """Files that `sha256` also stands for if they exist."""

    def files(self, path: Path) -> list[Path]:
        """The files of the SAE at `path`, whether they exist or not. Raises ConfigError if that is ambiguous."""
        optional = (weights_file(path, name) for name in self.optional_files)
        return [*(weights_file(path, name) for name in self.weights_files), *(f for f in optional if f.is_file())]

    def sha256(self, path: Path) -> str:
        """Identifies the weights: hash of the one file, or of the concatenated hashes of several.

        Raises ConfigError if one is missing.
        """
        files = self.files(path)
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise ConfigError(f"{file}: no such file" for file in missing)
        hashes = [file_sha256(file) for file in files]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


SAE_FORMATS: Registry[SaeFormat] = Registry(
    "SAE format",
    "latentwatch.sae_formats",
    {
        "compact": "monitor.sae.formats.compact:COMPACT",
        "saelens": "monitor.sae.formats.saelens:SAELENS",
        "sparsify": "monitor.sae.formats.sparsify:SPARSIFY",
        "llama_scope": "monitor.sae.formats.llama_scope:LLAMA_SCOPE",
        "lm_saes": "monitor.sae.formats.lm_saes:LM_SAES",
        "gemma_scope": "monitor.sae.formats.gemma_scope:GEMMA_SCOPE",
        "gemma_scope_2": "monitor.sae.formats.gemma_scope_2:GEMMA_SCOPE_2",
        "dictionary_learning": "monitor.sae.formats.dictionary_learning:DICTIONARY_LEARNING",
        "qwen_scope": "monitor.sae.formats.qwen_scope:QWEN_SCOPE",
        "goodfire": "monitor.sae.formats.goodfire:GOODFIRE",
        "openai": "monitor.sae.formats.openai:OPENAI",
    },
    members=("weights_files", "load", "sha256"),
)


def detected_format(path: Path) -> str:
    """The name of the built-in format of the SAE at `path`. Raises ConfigError if there is none or no SAE."""
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    for name in SAE_FORMATS.built_in:
        if SAE_FORMATS.load(name).recognises(path):
            return name
    raise ConfigError(
        f"{path}: no SAE in a format that is known ({', '.join(SAE_FORMATS.built_in)}); "
        "docs/sae-formats.md lists the files of each"
    )


def open_sae(path: Path) -> SaeWeights:
    """The SAE at `path` in any built-in format, with its decoder. Raises ConfigError if it can't be loaded."""
    return SAE_FORMATS.load(detected_format(path)).load(path)


def load_sae(path: Path, ref: ReaderRef, named_by: Path) -> SaeWeights:
    """The encoder of the SAE at `path`, checked against the reader of the feature set in `named_by`.

    Raises ConfigError if it isn't the SAE that the set was made with, or if it belongs to another model or hook point.
    """
    try:
        sae_format = SAE_FORMATS.load(ref.sae.format)
    except RegistryError as e:
        raise ConfigError(f"{named_by}: reader.sae.format: {e}") from None
    try:
        found = sae_format.sha256(path)
    except ConfigError as e:
        raise ConfigError(f"{named_by}: reader.sae.path: {problem}" for problem in e.problems) from None
    if found != ref.sae.sha256:
        files = ", ".join(map(str, sae_format.files(path)))
        raise ConfigError(f"{files}: sha256 is {found}, but {named_by} was made with {ref.sae.sha256}")
    sae = sae_format.load(path).without_decoder()
    if sae.d_sae != ref.sae.width:
        raise ConfigError(f"{named_by}: reader.sae.width: {ref.sae.width}, but the SAE has {sae.d_sae} latents")
    if different := differences(sae, ref):
        raise ConfigError(f"{named_by}: {problem}" for problem in different)
    for note in notes(sae, ref):
        log.info("%s: %s", path, note)
    return sae
