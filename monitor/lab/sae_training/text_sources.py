"""Opens text sources by name, mixes them, and splits them by document."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from monitor.errors import ConfigError
from monitor.lab.sae_training.dataset_texts import open_dataset, saved_dataset
from monitor.lab.sae_training.documents import Document, TextSource
from monitor.lab.sae_training.file_texts import FileTexts

_WINDOW = 4_096


def open_sources(names: Sequence[str]) -> list[TextSource]:
    """A source for each file, folder or Hugging Face dataset (`owner/name` or `owner/name:config`, split train).

    Files in folders are read in name order; hidden ones are skipped. Raises ConfigError with every problem.
    """
    sources: list[TextSource] = []
    problems: list[str] = []
    for name in names:
        path = Path(name).expanduser()
        try:
            if path.is_dir():
                sources.append(saved_dataset(path) if (path / "state.json").is_file() else _folder(path))
            elif path.is_file():
                sources.append(FileTexts(path.name, path, [path]))
            elif path.suffix or path.is_absolute() or name.startswith(".") or "/" not in name:
                problems.append(f"{name}: no such file or folder")
            else:
                sources.append(open_dataset(name))
        except ConfigError as e:
            problems += e.problems
        except OSError as e:
            problems.append(f"{name}: cannot be read: {e.strerror}")
    if problems:
        raise ConfigError(problems)
    return sources


def _folder(path: Path) -> FileTexts:
    def hidden(file: Path) -> bool:
        return any(part.startswith((".", "__pycache__")) for part in file.relative_to(path).parts)

    files = sorted(f for f in path.rglob("*") if f.is_file() and not hidden(f))
    if not files:
        raise ConfigError(f"{path}: no files")
    return FileTexts(path.name, path, files)


def mixed(sources: Sequence[TextSource], seed: int) -> Iterator[Document]:
    """The documents of all sources, each shuffled within a limited window, always in the same order for a `seed`.

    The source with the least text so far comes next, so that all sources are read at the same rate until they end.
    """
    streams: dict[int, Iterator[Document]] = {
        n: _shuffled(source.documents(), random.Random(f"{seed}-{n}"))  # noqa: S311 - an order, not a secret
        for n, source in enumerate(sources)
    }
    chars = dict.fromkeys(streams, 0)
    while streams:
        n = min(streams, key=lambda s: (chars[s], s))
        document = next(streams[n], None)
        if document is None:
            del streams[n]
            continue
        event = document.event
        chars[n] += len(event.response) + sum(len(m.content) for m in event.messages)
        yield document


def _shuffled(documents: Iterable[Document], order: random.Random) -> Iterator[Document]:
    window: list[Document] = []
    for document in documents:
        if len(window) < _WINDOW:
            window.append(document)
            continue
        n = order.randrange(_WINDOW)
        window[n], document = document, window[n]
        yield document
    order.shuffle(window)
    yield from window


def held_out(group: str, seed: int, share: float) -> bool:
    """Whether the documents of `group` are held out. A `seed` always gives the same groups, about `share` of all."""
    digest = hashlib.sha256(f"{seed}\n{group}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) < share * 2**64
