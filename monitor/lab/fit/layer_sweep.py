"""Layer sweep: dense probes on the mean residual stream of several blocks, measured on held-out source families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from monitor.auroc import auroc
from monitor.lab.data.recipe import Recipes, SetRecipe
from monitor.lab.data.rows import LabelledRow
from monitor.lab.fit.contenders import DENSE_C
from monitor.lab.fit.logistic import fit_logistic
from monitor.lab.fit.make_sets import benign_rows, source_rows
from monitor.lab.fit.workbench import Texts, Workbench, row_scores
from monitor.lab.reading.segment_table import SegmentTable
from monitor.model.files import locate
from monitor.readers.cut_model import CutModel
from monitor.tokens.chat_template import ChatTemplate
from monitor.tokens.tokeniser import EventTokeniser, Tokenised

_LONGEST = 1_024
_GROUP = 16


class LayerReader:
    """Reads the mean residual stream of segments at several layers in one pass of the model."""

    def __init__(self, model: str, layers: Sequence[int], max_norm: float) -> None:
        files = locate(model, None, None)
        template = ChatTemplate(files.chat_template(), files.special_tokens())
        self._tokeniser = EventTokeniser.load(files.tokenizer_file, template)
        self._model = CutModel(files.folder, layers, precision="bfloat16")
        self._layers = layers
        self._max_norm = max_norm

    def read(self, rows: Sequence[LabelledRow]) -> dict[int, SegmentTable]:
        """A table per layer, without latents. Texts are cut at 1,024 tokens."""
        items = self._tokeniser.tokenise([row.event(n) for n, row in enumerate(rows)])
        found: list[tuple[int, str, int, int, NDArray[np.float32]]] = []  # ..., [layer, d]
        order = sorted(range(len(items)), key=lambda n: items[n].ids.size)
        for start in range(0, len(order), _GROUP):
            group = order[start : start + _GROUP]
            for n, means in zip(group, self._group([items[n] for n in group]), strict=True):
                found += [(n, *mean) for mean in means]
        found.sort(key=lambda entry: (entry[0], entry[2]))
        return {
            layer: SegmentTable(
                row=np.array([f[0] for f in found], dtype=np.int64),
                segment=np.array([f[1] for f in found], dtype=np.str_),
                turn=np.array([f[2] for f in found], dtype=np.int64),
                tokens=np.array([f[3] for f in found], dtype=np.int32),
                latents=np.zeros((len(found), 0), np.float16),
                residual=np.stack([f[4][place] for f in found]),
            )
            for place, layer in enumerate(self._layers)
        }

    @torch.inference_mode()
    def _group(self, items: Sequence[Tokenised]) -> list[list[tuple[str, int, int, NDArray[np.float32]]]]:
        width = min(max(item.ids.size for item in items), _LONGEST)
        ids = torch.zeros((len(items), max(width, 1)), dtype=torch.long)
        for row, item in enumerate(items):
            ids[row, : min(item.ids.size, width)] = torch.from_numpy(item.ids[:width].astype(np.int64))
        found = self._model.residuals(ids, use_cache=False)
        residual = torch.stack([found[layer].float() for layer in self._layers], dim=1)  # [row, layer, token, d]
        usual = (residual.norm(dim=3, keepdim=True) <= self._max_norm).float()
        kept = (residual * usual).numpy()
        return [
            [
                (segment.name, turn, int(rows.size), kept[row][:, rows].mean(axis=1))
                for turn, (segment, all_rows) in enumerate(zip(item.segments, item.rows, strict=True))
                if (rows := all_rows[all_rows < width]).size
            ]
            for row, item in enumerate(items)
        ]


def held_out_auroc(bench: Workbench, recipe: SetRecipe, texts: dict[str, Texts]) -> float:
    """Mean AUROC of a dense probe over the sources with both labels; each is fitted without the source's family."""
    found = []
    for family in dict.fromkeys(s.family for s in recipe.sources):
        data = bench.training(recipe, family)
        if not (data.y == 1).any():
            continue
        model = fit_logistic(data.residual(), data.y, data.weights, DENSE_C)
        for source in (s for s in recipe.sources if s.family == family):
            scored = row_scores(recipe, texts[source.file], model.logits(texts[source.file].table.residual))
            if len(set(scored.labels.tolist())) == 2:
                found.append(auroc(scored.scores[scored.labels == 1], scored.scores[scored.labels == 0]))
    return float(np.mean(found))


def joined(tables: Sequence[SegmentTable]) -> SegmentTable:
    """The entries of the first table, with the residuals of all `tables` concatenated."""
    residual = np.concatenate([t.residual for t in tables], axis=1)
    first = tables[0]
    return SegmentTable(first.row, first.segment, first.turn, first.tokens, first.latents, residual)


def sweep(
    recipes: Recipes, reader: LayerReader, layers: Sequence[int], data: list[Path], rows: int, console: Console
) -> dict[str, dict[str, float]]:
    """AUROC on held-out sources by layer and set; the layer `all` is all of them together."""
    uses = {s.file: s for r in recipes.sets for s in r.sources}
    labelled = {f: source_rows(use, data, rows) for f, use in sorted(uses.items())}
    harmless = [(use, benign_rows(use, data)[:rows]) for use in recipes.benign if use.role == "fit"]
    everything = [*labelled.values(), *(rows_of for _, rows_of in harmless)]
    read = [reader.read(rows_of) for rows_of in track(everything, "reading", console=console)]
    found = {}
    for name, chosen in [*((str(layer), [layer]) for layer in layers), ("all", list(layers))]:
        tables = [joined([t[layer] for layer in chosen]) for t in read]
        made = [Texts.of(rows_of, t, recipes.prior_tokens) for rows_of, t in zip(everything, tables, strict=True)]
        texts = dict(zip(labelled, made, strict=False))
        benign = [(use, t) for (use, _), t in zip(harmless, made[len(labelled) :], strict=True)]
        bench = Workbench(recipes, texts, benign)
        found[name] = {r.id: held_out_auroc(bench, r, texts) for r in recipes.sets}
    return found


def sweep_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """The result of `sweep` as a Markdown table."""
    ids = list(next(iter(found.values())))
    lines = [f"| Block | {' | '.join(ids)} | mean |", "|---" * (len(ids) + 2) + "|"]
    for name, by_set in found.items():
        cells = [f"{by_set[i]:.3f}" for i in ids]
        lines.append(f"| {name} | {' | '.join(cells)} | {np.mean(list(by_set.values())):.3f} |")
    return "\n".join(lines)
