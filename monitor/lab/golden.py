"""Golden: activations of our own few texts by the reference reader, for the self-test at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import monitor
from detectors.feature_set import FeatureSet
from monitor.activations.reference import (
    REFERENCE_FILE,
    Reference,
    ReferenceInfo,
    ReferenceText,
    ReferenceTurn,
    read_all,
)
from monitor.activations.torch_reader import TorchReader
from monitor.build import build_template, build_tokeniser, load_artefacts
from monitor.config import Config
from monitor.errors import ConfigError
from monitor.sae.encoder import CuratedEncoder
from monitor.sae.weights import SaeWeights

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
    settings = config.reader.model_copy(update={"engine": "torch", "bundle": None})
    config = config.model_copy(update={"reader": settings})
    artefacts = load_artefacts(config)
    sae = artefacts.made_of
    if not isinstance(sae, SaeWeights):
        raise ConfigError("reader.bundle: golden activations are read with reader.model, not with a bundle")
    if build_template(config, artefacts.model).dated:
        raise ConfigError(
            "reader.chat_template: the chat template calls strftime_now, so its text changes from day to day; "
            "name a template with a fixed date there"
        )
    first = artefacts.sets[0]
    ref = first.shipped.reader
    encoder = CuratedEncoder(sae, range(sae.d_sae), ref.sae.activation_basis)
    reader = TorchReader(
        artefacts.model.folder, ref.layer, encoder, max_norm=ref.max_norm, threads=config.reader.threads
    )
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
    reference = Reference.read(info, [item.ids for item in items], read_all(reader))
    return Golden(first.sae_folder / REFERENCE_FILE, reference, tuple(loaded.set for loaded in artefacts.sets))
