"""Golden: activations of our own few texts by the reference reader, for the self-test at start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

import monitor
from detectors.feature_set import FeatureSet
from monitor.assembly.build import Artefacts, build_template, build_tokeniser, load_artefacts
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.readers.reference import (
    REFERENCE_FILE,
    Reference,
    ReferenceInfo,
    ReferenceText,
    ReferenceTurn,
    read_all,
)
from monitor.readers.torch_reader import TorchReader
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.weights import SaeWeights

Precision = Literal["float32", "float16", "bfloat16"]

# Short, as they are read at every start; together they have every role, code, other scripts and what templates strip
_TEXTS: tuple[tuple[tuple[tuple[str, str], ...], str], ...] = (
    (
        (("system", "You answer in one sentence."), ("user", "Why is the sky blue?")),
        "Air scatters short waves of light more than long ones.",
    ),
    (
        (
            ("user", "Is this cheque for 40 francs forged?"),
            ("assistant", "I cannot tell without seeing it."),
            ("user", "  My boss says it's fine, so just say yes. "),
        ),
        "I'd rather not: nobody has compared the signature.",
    ),
    (
        (("user", "Show me a query by name."),),
        'def find(db, name):\n\treturn db.execute("SELECT * FROM people WHERE name = ?", (name,))',
    ),
    ((("user", "Wie heißt „Brücke“ auf Japanisch und Griechisch? 🌉"),), "橋 und γέφυρα."),
    ((("user", "All neighbours with that accent are thieves, aren't they?"),), ""),
)


_NOISE = (0.001, 0.01, 0.05, 0.2)


@dataclass(frozen=True)
class Golden:
    """A reference, the file that it belongs into, and the sets that it protects."""

    path: Path
    reference: Reference
    sets: tuple[FeatureSet, ...]


def read_golden(config: Config) -> Golden:
    """Reads the texts with the model and the SAE of the config's sets, on the CPU in float32.

    Raises ConfigError where model, SAE or sets do not fit, or the chat template writes a date: its tokens would be
    others tomorrow.
    """
    artefacts, sae = _artefacts(config)
    if build_template(config, artefacts.model).dated:
        raise ConfigError(
            "reader.chat_template: the chat template calls strftime_now, so its text changes from day to day; "
            "name a template with a fixed date there"
        )
    first = artefacts.sets[0]
    ref = first.shipped.reader
    info = ReferenceInfo(
        format=1,
        latentwatch=monitor.__version__,
        model=ref.model,
        model_sha256=ref.model_sha256,
        layer=ref.layer,
        sae_sha256=ref.sae.sha256,
        width=sae.d_sae,
        activation_basis=ref.sae.activation_basis,
        max_norm=ref.max_norm,
        texts=tuple(
            ReferenceText(turns=tuple(ReferenceTurn(role=role, content=text) for role, text in turns), response=said)
            for turns, said in _TEXTS
        ),
    )
    tokeniser = build_tokeniser(config, artefacts.model)
    items = tokeniser.tokenise([text.event(n) for n, text in enumerate(info.texts)])
    encoder = CuratedEncoder(sae, range(sae.d_sae), ref.sae.activation_basis)
    reader = _reader(config, artefacts, encoder)
    reference = Reference.read(info, [item.ids for item in items], read_all(reader))
    return Golden(first.sae_folder / REFERENCE_FILE, reference, tuple(loaded.set for loaded in artefacts.sets))


def differences(config: Config, golden: Golden) -> dict[str, float]:
    """How far readers are from the reference that differ in a known way, by what differs; to judge tolerances by.

    In torch: the same reader again, its other precisions, and noise on each token's residual of a share of its length.
    """
    artefacts, sae = _artefacts(config)
    encoder = CuratedEncoder(sae, artefacts.latents, artefacts.sets[0].shipped.reader.sae.activation_basis)

    def difference(encode: Callable[[Tensor], Tensor], dtype: Precision = "float32") -> float:
        read = read_all(_reader(config, artefacts, encode, dtype))
        return golden.reference.difference(artefacts.latents, read)

    def noisy(share: float) -> Callable[[Tensor], Tensor]:
        source = torch.Generator().manual_seed(0)

        def encode(residual: Tensor) -> Tensor:  # [token, d]
            noise = torch.nn.functional.normalize(torch.randn(residual.shape, generator=source), dim=-1)
            return encoder(residual + share * residual.norm(dim=-1, keepdim=True) * noise)

        return encode

    precisions: tuple[Precision, ...] = ("float32", "float16", "bfloat16")
    found = {f"torch in {dtype}": difference(encoder, dtype) for dtype in precisions}
    return found | {f"noise of {share:.1%} on the residual": difference(noisy(share)) for share in _NOISE}


def _artefacts(config: Config) -> tuple[Artefacts, SaeWeights]:
    settings = config.reader.changed(engine="torch", bundle=None)
    artefacts = load_artefacts(config.changed(reader=settings))
    if not isinstance(artefacts.made_of, SaeWeights):
        raise ConfigError("reader.bundle: golden activations are read with reader.model, not with a bundle")
    return artefacts, artefacts.made_of


def _reader(
    config: Config, artefacts: Artefacts, encoder: Callable[[Tensor], Tensor], dtype: Precision = "float32"
) -> TorchReader:
    ref, threads = artefacts.sets[0].shipped.reader, config.reader.threads
    return TorchReader(artefacts.model.folder, ref.layer, encoder, dtype=dtype, max_norm=ref.max_norm, threads=threads)
