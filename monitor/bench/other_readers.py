"""Readers to compare with: what one would write with transformers and sae-lens, and llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from monitor.assembly.artefacts import load_artefacts
from monitor.assembly.tokeniser import build_template, build_tokeniser
from monitor.bench.readers import Measured
from monitor.bench.sizes import BATCH
from monitor.config.sections import Config
from monitor.errors import ConfigError, Permanent
from monitor.events.event import Event
from monitor.machine import usable_cores
from monitor.model.files import PACKAGE_PREFIX, packaged_gguf
from monitor.readers.transformers_log import quiet_transformers


def make_naive(config: Config, dtype: Literal["float32", "bfloat16"]) -> Measured:
    """A NaiveReader to measure."""
    return Measured(NaiveReader(config, dtype))


def make_llama_cpp(config: Config) -> Measured:
    """A LlamaCppReader to measure."""
    return Measured(LlamaCppReader(config))


class NaiveReader:
    """The whole model with all hidden states, then the whole SAE, on padded batches in order of arrival.

    Model and SAE have the same precision, and torch runs in its default mode, as in the examples of both libraries.
    """

    def __init__(self, config: Config, dtype: Literal["float32", "bfloat16"]) -> None:
        import torch
        from sae_lens import SAE
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(config.reader.threads or usable_cores())
        artefacts = load_artefacts(config).uncompiled("the comparison with transformers and sae-lens")
        ref = artefacts.ref
        if ref.hook != "resid_post" or ref.sae.format != "saelens":
            raise ConfigError(
                f"{artefacts.sets[0].path}: reader: the comparison with transformers and sae-lens needs hook "
                "resid_post and an SAE in the format saelens"
            )
        self._template = build_template(config, artefacts.model)
        self._layer = artefacts.ref.layer
        self._latents = list(artefacts.latents)
        with quiet_transformers():
            self._tokenizer: Any = AutoTokenizer.from_pretrained(artefacts.model.folder, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(
                artefacts.model.folder, dtype=getattr(torch, dtype), local_files_only=True
            )
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model = model.eval()
        self._sae: Any = SAE.load_from_disk(artefacts.sets[0].sae_folder, dtype=dtype)

    def read(self, events: Sequence[Event]) -> Iterator[int]:
        import torch

        for batch in _batches(events):
            inputs = self._tokens(batch)
            with torch.no_grad():
                hidden = self._model(**inputs, output_hidden_states=True).hidden_states[self._layer + 1]
                activations = self._sae.encode(hidden)[..., self._latents]  # [event, token, feature]
            activations.float().numpy()
            yield len(batch)

    def fresh(self) -> None:
        """Nothing to forget."""

    def padding(self, events: Sequence[Event]) -> float:
        masks = [self._tokens(batch)["attention_mask"] for batch in _batches(events)]
        real = sum(int(mask.sum()) for mask in masks)
        return sum(mask.numel() for mask in masks) / real - 1 if real else 0.0

    def _tokens(self, batch: Sequence[Event]) -> Any:
        texts = [self._template.render(event).text for event in batch]
        return self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=not self._template.exists)


class LlamaCppReader:
    """llama.cpp's prompt processing of the same model's GGUF: the whole model, without activations.

    It shows what an engine built for speed takes to read the same tokens, quantised as in the file.
    """

    def __init__(self, config: Config) -> None:
        try:
            from llama_cpp import Llama
        except ImportError:
            raise Permanent("needs llama_cpp; run: pip install llama-cpp-python") from None
        if not config.reader.model.startswith(PACKAGE_PREFIX):
            raise Permanent(f"reader.model: {config.reader.model} is not a GGUF in a Python package")
        gguf: Path = packaged_gguf(config.reader.model.removeprefix(PACKAGE_PREFIX))
        threads = config.reader.threads or usable_cores()
        self._tokeniser = build_tokeniser(config, load_artefacts(config).model)
        self._llama: Any = Llama(
            str(gguf),
            n_ctx=config.reader.window_tokens,
            n_batch=config.reader.batch_size,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )

    def read(self, events: Sequence[Event]) -> Iterator[int]:
        for event in events:
            (item,) = self._tokeniser.tokenise([event])
            self._llama.reset()
            self._llama.eval(item.ids.tolist())
            yield 1

    def fresh(self) -> None:
        """Nothing to forget: `reset` runs before every event."""

    def padding(self, events: Sequence[Event]) -> float:  # noqa: ARG002 - it never pads
        return 0.0


def _batches(events: Sequence[Event]) -> list[Sequence[Event]]:
    return [events[n : n + BATCH] for n in range(0, len(events), BATCH)]
