"""Puts an engine together from readers that are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from monitor.alerts.allow import AllowList
from monitor.alerts.event_attributes import ChosenAttributes
from monitor.alerts.policy import Policy, PolicySettings
from monitor.alerts.redactor import Redactor
from monitor.alerts.rules import RuleBook
from monitor.assembly.artefacts import Artefacts
from monitor.assembly.sent_reader import build_sent_reader
from monitor.config.feature_url import FeatureUrl
from monitor.config.sections import Config
from monitor.engine import Engine, EngineSettings
from monitor.readers.reader import Reader
from monitor.readers.windows import WindowReader
from monitor.sets.load import LoadedSet
from monitor.tokens.language import LanguageOf
from monitor.tokens.tokeniser import EventTokeniser


def assemble_engine(
    config: Config,
    artefacts: Artefacts,
    tokeniser: EventTokeniser,
    reader: Reader,
    exact: Reader | None = None,
    margins: Mapping[str, float] | None = None,
) -> Engine:
    """An engine with `reader`, which reads everything, and `exact`, which reads events within `margins` again."""
    return Engine(
        policy=build_policy(config, artefacts.sets, artefacts.columns, margins),
        tokeniser=tokeniser,
        reader=window_reader(config, tokeniser, reader),
        exact=None if exact is None else window_reader(config, tokeniser, exact),
        sent=build_sent_reader(config, artefacts, artefacts.columns, tokeniser),
        settings=EngineSettings(max_tokens=config.events.max_tokens),
    )


def build_policy(
    config: Config,
    sets: Sequence[LoadedSet],
    columns: Sequence[int | str],
    margins: Mapping[str, float] | None = None,
) -> Policy:
    """The policy of the config with its `sets`, for readers with `columns`; see Policy for `margins`."""
    settings = PolicySettings(
        config_sha256=config.sha256(),
        attributes=ChosenAttributes(config.alerts.attributes, config.feature_sets),
        redactor=Redactor.of(config.alerts.redact) if config.alerts.capture_content else None,
        top_features=config.alerts.top_features,
        top_tokens=config.alerts.top_tokens,
        feature_url=None if config.alerts.feature_url is None else FeatureUrl(config.alerts.feature_url),
    )
    rules = RuleBook(config.feature_sets, [loaded.set.id for loaded in sets])
    asked = any(loaded.set.languages is not None for loaded in sets)
    allow = AllowList(config.feature_sets.allow)
    return Policy(sets, columns, settings, margins, rules, allow, _language_identifier() if asked else None)


@cache  # its tables take 70 MB and half a second, and every reload makes a policy
def _language_identifier() -> LanguageOf:
    from monitor.tokens.language_identifier import LanguageIdentifier

    return LanguageIdentifier()


def window_reader(config: Config, tokeniser: EventTokeniser, reader: Reader) -> WindowReader:
    """`reader` for texts of any length, in windows of the config's size, over the template's shared prefixes."""
    return WindowReader(
        reader,
        tokeniser.shared_prefixes(),
        window_tokens=config.reader.window_tokens,
        overlap_tokens=config.reader.overlap_tokens,
    )
