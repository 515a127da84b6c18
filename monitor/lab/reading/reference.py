"""NewReference: reference activations of a few texts, read with torch, for the self-test of readers at start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import monitor
from detectors.feature_set import FeatureSet
from monitor.assembly.artefacts import ModelArtefacts, load_model_artefacts
from monitor.assembly.tokeniser import build_template, build_tokeniser
from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.readers.cut_model import TorchPrecision
from monitor.readers.reference import ReferenceActivations, read_texts
from monitor.readers.sae_reference import ReferenceInfo, ReferenceText, ReferenceTurn, SaeReference, reference_file
from monitor.readers.torch_reader import TorchReader
from monitor.sae.encoder import CuratedEncoder

# Short, because they are read at every start. Together they contain every role, code, several scripts, and white
# space that templates strip
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
class NewReference:
    """A reference, the file that it belongs in, and the sets that it protects."""

    path: Path
    reference: SaeReference
    sets: tuple[FeatureSet, ...]


def read_reference(config: Config) -> NewReference:
    """Reads the texts with the model and the SAE of the config's sets, on the CPU in float32.

    Raises ConfigError if model, SAE and sets don't fit together, or if the chat template writes a date, because
    its tokens would be different tomorrow.
    """
    artefacts = load_model_artefacts(config)
    sae, ref = artefacts.sae, artefacts.ref
    if build_template(config, artefacts.model).dated:
        raise ConfigError(
            "reader.chat_template: the chat template calls strftime_now, so its text changes from day to day; "
            "name a template with a fixed date there"
        )
    info = ReferenceInfo(
        format=1,
        latentwatch=monitor.__version__,
        model=ref.model,
        model_sha256=ref.model_sha256,
        layer=ref.layer,
        hook=ref.hook,
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
    latents = sae.numbers.tolist()
    encoder = CuratedEncoder(sae, latents, ref.sae.activation_basis)
    read = read_texts(_reader(config, artefacts, encoder))
    found = ReferenceActivations.read(latents, [item.ids for item in items], read)
    path = reference_file(artefacts.sets[0].sae_folder)
    return NewReference(path, SaeReference(info, found), tuple(loaded.set for loaded in artefacts.sets))


def differences(config: Config, new: NewReference) -> dict[str, float]:
    """Differences between the reference and readers that differ in a known way, by name; for choosing tolerances.

    All in torch: the same reader again, other precisions, and noise on the residual stream, as a share of its norm.
    """
    artefacts = load_model_artefacts(config)
    encoder = CuratedEncoder(artefacts.sae, artefacts.latents, artefacts.ref.sae.activation_basis)

    def difference(encode: Callable[[Tensor], Tensor], dtype: TorchPrecision = "float32") -> float:
        read = read_texts(_reader(config, artefacts, encode, dtype))
        return new.reference.activations.difference(artefacts.latents, read)

    def noisy(share: float) -> Callable[[Tensor], Tensor]:
        source = torch.Generator().manual_seed(0)

        def encode(residual: Tensor) -> Tensor:  # [token, d]
            noise = torch.nn.functional.normalize(torch.randn(residual.shape, generator=source), dim=-1)
            return encoder(residual + share * residual.norm(dim=-1, keepdim=True) * noise)

        return encode

    precisions: tuple[TorchPrecision, ...] = ("float32", "float16", "bfloat16")
    found = {f"torch in {dtype}": difference(encoder, dtype) for dtype in precisions}
    return found | {f"noise of {share:.1%} on the residual": difference(noisy(share)) for share in _NOISE}


def _reader(
    config: Config, artefacts: ModelArtefacts, encoder: Callable[[Tensor], Tensor], dtype: TorchPrecision = "float32"
) -> TorchReader:
    ref, threads = artefacts.ref, config.reader.threads
    return TorchReader(
        artefacts.model.folder,
        ref.layer,
        encoder,
        dtype=dtype,
        max_norm=ref.max_norm,
        threads=threads,
        hook=ref.hook,
    )
