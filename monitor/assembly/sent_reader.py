"""Puts together what reads activations that a serving engine sends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monitor.assembly.artefacts import Artefacts
from monitor.config.sections import Config
from monitor.errors import BadEvent, ConfigError
from monitor.readers.sent.payload import PayloadReader
from monitor.readers.sent.payload_folder import PayloadFolder
from monitor.readers.sent.reader import SentReader
from monitor.readers.sent.tensors import PATH
from monitor.sae.rows import EncoderRows, RowsInfo
from monitor.sae.rows_file import load_rows_info
from monitor.sae.weights import Array
from monitor.tokens.tokeniser import EventTokeniser


class SentEncoder:
    """Encodes for the sets in use, into columns that the policy has; those of no set in use stay 0."""

    def __init__(
        self, rows: EncoderRows, info: RowsInfo, columns: Sequence[int | str], known: Sequence[RowsInfo] = ()
    ) -> None:
        """`info` tells the order of `rows`, and `known` other rows that servers multiply with."""
        self._rows = rows
        self._names = info.names
        at = {name: column for column, name in enumerate(columns)}
        self._columns = np.array([at[name] for name in info.names], np.int64)
        self._width = len(columns)
        self._known = {one.sha256(): one for one in (info, *known)}

    @property
    def d(self) -> int:
        return self._rows.d

    def of_hidden_states(self, residual: Array) -> Array:
        return self._placed(self._rows.of_hidden_states(residual))

    def of_preactivations(self, values: Array, norms: Array | None, rows_sha256: str) -> Array:
        sent = self._known.get(rows_sha256)
        if sent is None:
            raise BadEvent(
                "names rows that are not those of the sets in use; run export-rows again, or name the server's file in "
                "activations.rows",
                f"{PATH}.rows_sha256",
            )
        if values.shape[1] != len(sent.names):
            raise BadEvent(f"{values.shape[1]} preactivations a token, but the rows are {len(sent.names)}", PATH)
        if self._rows.max_norm is not None and norms is None:
            raise BadEvent(
                f"the payload needs norms, because tokens longer than {self._rows.max_norm:g} count as 0", PATH
            )
        at = {name: row for row, name in enumerate(sent.names)}
        missing = [name for name in self._names if name not in at]
        if missing:
            raise BadEvent(
                f"the server's rows lack {missing[0]}, which a set uses; run export-rows again", f"{PATH}.rows_sha256"
            )
        try:
            return self._placed(self._rows.of_products(values[:, [at[name] for name in self._names]], norms))
        except ConfigError as e:
            raise BadEvent(f"{e}; send hidden_states", f"{PATH}.kind") from None

    def _placed(self, found: Array) -> Array:
        placed = np.zeros((found.shape[0], self._width), np.float32)
        placed[:, self._columns] = found
        return placed


def rows_info(artefacts: Artefacts) -> RowsInfo:
    """Which rows the sets use. Raises ConfigError if they are read at several hook points."""
    if len(artefacts.points) > 1:
        first, second = artefacts.points[:2]
        raise ConfigError(
            f"feature_sets: {second.set_path} is read at {second}, but {first.set_path} at {first}; activations come "
            "from one hook point: choose sets of one"
        )
    return RowsInfo.of(artefacts.ref, artefacts.latents, [probe.sha256 for probe in artefacts.probes])


def build_sent_reader(
    config: Config, artefacts: Artefacts, columns: Sequence[int | str], tokeniser: EventTokeniser
) -> SentReader | None:
    """A reader whose columns are `columns`, for the sets of `artefacts`; None if they have several hook points.

    Raises ConfigError if a file of activations.rows is of another model, layer or SAE.
    """
    if len(artefacts.points) > 1:
        return None
    settings, info = config.activations, rows_info(artefacts)
    problems, known = [], []
    for path in settings.rows:
        try:
            found = load_rows_info(path)
        except ConfigError as e:
            problems += [f"activations.rows: {problem}" for problem in e.problems]
            continue
        if replace(found, model=info.model, latents=(), probes=()) != replace(info, latents=(), probes=()):
            problems.append(f"activations.rows: {path}: its rows are of another model, layer or SAE than the sets")
        known.append(found)
    if settings.folder is not None and not settings.folder.is_dir():
        problems.append(f"activations.folder: {settings.folder}: not a folder")
    if problems:
        raise ConfigError(problems)
    folder = None
    if settings.folder is not None:
        folder = PayloadFolder(settings.folder, settings.max_bytes, settings.wait_s)
    return SentReader(
        artefacts.ref,
        tokeniser,
        PayloadReader(settings.max_bytes, folder),
        lambda: SentEncoder(artefacts.encoder_rows(), info, columns, known),
    )
