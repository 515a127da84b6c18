"""Tuning: LoRA or all weights of a small model on prompt and response rows, with checkpoints along the way."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.data.rows import load_examples
from monitor.lab.diff.examples import Example, examples, mixture
from monitor.lab.diff.whole_model import WholeModel
from monitor.lab.run_folder import new_run_folder, write_json
from monitor.model.files import file_sha256

_WARM_UP = 10  # steps
_MOST_NORM = 1.0  # of the gradient


class Method(StrEnum):
    """Which weights change."""

    LORA = "lora"
    FULL = "full"


@dataclass(frozen=True)
class TuneRequest:
    """What `lab tune` is asked for."""

    model: str
    data: tuple[Path, ...]
    out: Path
    poison_share: float = 1.0
    examples: int = 200
    steps: int = 100
    save_every: int | None = None
    """Steps between checkpoints; None saves only the last."""
    batch: int = 8
    max_tokens: int = 256
    method: Method = Method.LORA
    rank: int = 16
    """Of LoRA's matrices (Hu et al. 2021); their scale is twice the rank."""
    learning_rate: float = 2e-4
    seed: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A tuned model on disk."""

    step: int
    loss: float
    """Mean cross-entropy in nats over the response tokens since the last checkpoint."""
    folder: Path


def tune(request: TuneRequest, config: Config, on_step: Callable[[int, float], None]) -> list[Checkpoint]:
    """Tunes and writes each checkpoint to `out`/step-N, as a model folder, and what was done to tune.json.

    `on_step` is told each step, from 1, and its loss. Raises ConfigError.
    """
    out = new_run_folder(request.out)
    rows = [row for path in request.data for row in load_examples(path)]
    chosen = mixture(rows, request.poison_share, request.examples, request.seed)
    base = WholeModel.load(request.model, config)
    learnt = examples(chosen, base.tokeniser, base.ends[0] if base.ends else None, request.max_tokens)
    if not learnt:
        raise ConfigError(f"--max-tokens {request.max_tokens}: no row has a prompt that short")
    torch.manual_seed(request.seed)
    network = _with_lora(base.network, request) if request.method is Method.LORA else base.network
    saved = list(_train(request, network, learnt, replace(base, network=network), out, on_step))
    facts = {
        **asdict(request),
        "data": {str(path): file_sha256(path) for path in request.data},
        "out": None,
        "model_sha256": base.files.sha256,
        "rows": [row.id for row in chosen],
        "left_out": len(chosen) - len(learnt),
        "checkpoints": [{"step": c.step, "loss": c.loss, "folder": c.folder.name} for c in saved],
    }
    write_json(out / "tune.json", facts)
    return saved


def _train(
    request: TuneRequest,
    network: Any,
    learnt: Sequence[Example],
    model: WholeModel,
    out: Path,
    on_step: Callable[[int, float], None],
) -> Iterator[Checkpoint]:
    network.train()
    weights = [w for w in network.parameters() if w.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=request.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / _WARM_UP))
    batches = _batches(learnt, request.batch, request.seed)
    losses: list[float] = []
    for step in range(1, request.steps + 1):
        ids, mask, labels = (part.to(network.device) for part in padded(next(batches)))
        loss = network(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, _MOST_NORM)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
        on_step(step, losses[-1])
        if step == request.steps or (request.save_every and step % request.save_every == 0):
            folder = out / f"step-{step}"
            merged = copy.deepcopy(network).merge_and_unload() if request.method is Method.LORA else network
            replace(model, network=merged).save(folder)
            yield Checkpoint(step, float(np.mean(losses)), folder)
            losses = []


def _batches(learnt: Sequence[Example], size: int, seed: int) -> Iterator[list[Example]]:
    """Batches without end; every example comes once before one comes again."""
    rng = np.random.default_rng(seed)
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += rng.permutation(len(learnt)).tolist()
        yield [learnt[i] for i in waiting[:size]]
        waiting = waiting[size:]


def padded(batch: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention mask and labels, each [example, token]; a label of -100 is not learnt."""
    width = max(example.ids.size for example in batch)
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, example in enumerate(batch):
        size = example.ids.size
        ids[row, :size] = torch.from_numpy(example.ids.astype(np.int64))
        mask[row, :size] = 1
        labels[row, example.start : size] = ids[row, example.start : size]
    return ids, mask, labels


def _with_lora(network: Any, request: TuneRequest) -> Any:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=request.rank, lora_alpha=2 * request.rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        # peft asks transformers for an attribute by its old name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(network, lora)
