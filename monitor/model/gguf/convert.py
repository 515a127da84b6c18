"""Converts a GGUF file into transformers layout, once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from monitor.errors import ConfigError

# After this time, a half-written folder counts as abandoned if the file system has no locks to ask
_ABANDONED_S = 3600.0


def convert(gguf: Path, folder: Path) -> None:
    """Writes model.safetensors (float32), config.json, tokenizer and chat template of `gguf` to `folder`.

    The folder appears complete or not at all. Takes a few seconds for 135 M parameters, and little memory.
    Raises ConfigError if the file cannot be read, its architecture is not known or a library is missing.
    """
    needed_for(f"{gguf.name}: converting")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _only_writer(folder.parent) as alone:
            if (folder / "config.json").is_file():
                return  # another process was faster; its result is the same
            _remove_abandoned(folder, 0.0 if alone else _ABANDONED_S)
            part = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
            try:
                part.mkdir()
                _write(gguf, part)
                with contextlib.suppress(OSError):
                    part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except (ValueError, OSError) as e:
        raise ConfigError(f"{gguf}: not converted: {e}") from e
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder}: cannot be written")


def needed_for(purpose: str) -> None:
    """Raises ConfigError if a library that reading a GGUF needs is missing."""
    try:
        import monitor.model.gguf.weights  # noqa: F401
    except ImportError as e:
        raise ConfigError(f"{purpose} needs {e.name}; run: pip install 'latentwatch[compile]'") from None


def _write(gguf: Path, folder: Path) -> None:
    from monitor.model.gguf.config import config_of
    from monitor.model.gguf.file import GgufFile
    from monitor.model.gguf.tokenizer import write_texts
    from monitor.model.gguf.weights import write_weights

    file = GgufFile.open(gguf)
    # Finds everything that may be wrong with the file before it writes the weights, which take longest
    config = config_of(file)
    write_texts(file, folder)
    write_weights(file, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[bool]:
    """Waits until no other process converts into `folder`. Yields False if the file system has no locks."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # the lock ends with the process, however that ends
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _remove_abandoned(folder: Path, age_s: float) -> None:
    """Removes what conversions to `folder` left behind when they were killed."""
    for left in folder.parent.glob(f".{folder.name}-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime >= age_s:
                shutil.rmtree(left, ignore_errors=True)
