"""Builds an engine from a config, refusing a model or an SAE that the feature sets were not made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.activations.chat_template import ChatTemplate
from monitor.activations.model_files import ModelFiles, file_sha256, locate
from monitor.activations.reader import Reader
from monitor.activations.tokens import EventTokeniser
from monitor.activations.windows import WindowPlanner
from monitor.config import Config
from monitor.engine import Engine
from monitor.errors import ConfigError
from monitor.feature_set_files import LoadedSet, load_feature_sets
from monitor.sae.saelens import WEIGHTS_FILE, load_saelens
from monitor.sae.weights import SaeWeights


@dataclass(frozen=True)
class Artefacts:
    """Everything on disk that an engine needs, checked against the hashes in the feature sets."""

    sets: tuple[LoadedSet, ...]
    model: ModelFiles
    sae: SaeWeights

    @property
    def latents(self) -> tuple[int, ...]:
        """The SAE latents that any set uses, ascending."""
        return tuple(sorted({i for loaded in self.sets for i in loaded.set.indices()}))


def load_artefacts(config: Config) -> Artefacts:
    """Feature sets, model and SAE of the config. Raises ConfigError with every problem found."""
    sets = load_feature_sets(config.feature_sets.paths, config.feature_sets.only, config.feature_sets.overrides)
    ref = sets[0].shipped.reader  # load_feature_sets made sure that all sets name the same reader
    problems: list[str] = []
    model: ModelFiles | None = None
    sae: SaeWeights | None = None
    try:
        model = locate(config.reader.model, config.reader.revision, config.reader.cache_dir)
        if model.sha256 != ref.model_sha256:
            problems.append(
                f"reader.model: {config.reader.model} has sha256 {model.sha256}, but the feature sets were made on "
                f"{ref.model} with {ref.model_sha256}; feature indices mean nothing on another model"
            )
        _ = model.tokenizer_file
    except ConfigError as e:
        problems += e.problems
    try:
        sae = _checked_sae(sets[0])
    except ConfigError as e:
        problems += e.problems
    if problems or model is None or sae is None:
        raise ConfigError(problems)
    return Artefacts(tuple(sets), model, sae)


def build_engine(config: Config, artefacts: Artefacts) -> Engine:
    """The engine that judges events by the config. Raises ConfigError where the model does not load."""
    tokeniser = build_tokeniser(config, artefacts)
    reader = build_reader(config, artefacts, artefacts.latents)
    planner = WindowPlanner(
        reader, tokeniser.constant_starts(), config.reader.window_tokens, config.reader.overlap_tokens
    )
    return Engine(
        artefacts.sets,
        tokeniser,
        planner,
        reader,
        artefacts.latents,
        config.alerts,
        config.sha256(),
        config.events.max_tokens,
    )


def build_tokeniser(config: Config, artefacts: Artefacts) -> EventTokeniser:
    """The chat template and the tokenizer. Raises ConfigError where one cannot be read."""
    template_file = config.reader.chat_template
    try:
        source = artefacts.model.chat_template() if template_file is None else template_file.read_text()
    except OSError as e:
        raise ConfigError(f"reader.chat_template: {template_file}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"reader.chat_template: {template_file}: not UTF-8 text") from None
    template = ChatTemplate(source, artefacts.model.special_tokens())
    return EventTokeniser.load(artefacts.model.tokenizer_file, template)


def build_reader(config: Config, artefacts: Artefacts, latents: Sequence[int]) -> Reader:
    """The torch reader of the artefacts' model, with the columns `latents`."""
    try:
        from monitor.activations.torch_reader import TorchReader, usable_device
        from monitor.sae.encoder import CuratedEncoder
    except ImportError as e:
        raise ConfigError(f"the reader needs {e.name}; run: pip install 'latentwatch[torch]'") from None
    ref = artefacts.sets[0].shipped.reader
    device = usable_device(config.reader.device)
    encoder = CuratedEncoder(artefacts.sae, latents, ref.sae.activation_basis, device)
    return TorchReader(
        artefacts.model.folder,
        ref.layer,
        encoder,
        device=config.reader.device,
        dtype=config.reader.dtype,
        batch_tokens=config.reader.batch_tokens,
        max_norm=ref.max_norm,
        threads=config.reader.threads,
    )


def _checked_sae(loaded: LoadedSet) -> SaeWeights:
    ref = loaded.shipped.reader.sae
    weights_file = loaded.sae_folder / WEIGHTS_FILE
    if not weights_file.is_file():
        raise ConfigError(f"{loaded.path}: reader.sae.path: {weights_file}: no such file")
    found = file_sha256(weights_file)
    if found != ref.sha256:
        raise ConfigError(f"{weights_file}: sha256 is {found}, but {loaded.path} was made on {ref.sha256}")
    sae = load_saelens(loaded.sae_folder)
    if sae.d_sae != ref.width:
        raise ConfigError(f"{loaded.path}: reader.sae.width: {ref.width}, but the SAE has {sae.d_sae} latents")
    return sae
