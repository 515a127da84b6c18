"""The command `latentwatch sets explain`: the arithmetic of one score."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.options import ConfigOption
from monitor.cli.wiring import load_settings
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from detectors.feature_set import FeatureSet
    from detectors.score import Score

_MAX_CHARS = 1_000_000
_SHOWN = 20


class SegmentOption(StrEnum):
    """Which part of an event the text is."""

    response = "response"
    user = "user"


def explain(
    set_id: Annotated[str, typer.Argument(metavar="SET", help="Id of the set, as `sets list` prints it.")],
    text: Annotated[str, typer.Option(help="File with the text; - reads standard input.")],
    segment: Annotated[
        SegmentOption | None,
        typer.Option(help="Which part of an event the text is; default: response, if the set looks at it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every feature that is active.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show how a set's score of a text comes about: each feature's activation, weight and share."""
    from rich.console import Console

    from monitor.assembly.artefacts import load_artefacts
    from monitor.assembly.build import build_engine
    from monitor.assembly.sets import load_sets
    from monitor.events.event import Event, Message, Origin

    settings = load_settings(config)
    if settings.reader.engine == "onnx":
        settings = settings.changed(reader=settings.reader.changed(precision="fp32"))  # it decides near a threshold
    loaded = next((one for one in load_sets(settings) if one.set.id == set_id), None)
    if loaded is None:
        raise ConfigError(f"no set {set_id} in use; `latentwatch sets list` shows them")
    used = loaded.set
    named = segment or next((one for one in SegmentOption if one.value in used.segments), None)
    if named is None or named.value not in used.segments:
        raise ConfigError(f"--segment: {used.id} looks only at {', '.join(used.segments)}")
    said = _read(text)
    is_response = named is SegmentOption.response
    event = Event(
        id="text",
        messages=() if is_response else (Message("user", said),),
        response=said if is_response else "",
        origin=Origin(text, 0, 0),
    )
    engine = build_engine(settings, load_artefacts(settings, [loaded]))
    score = next(iter(engine.scores([event])))[used.id]
    if score is None:
        raise ConfigError(f"--text {text}: no token of it is scored by {used.id}")
    found = arithmetic(used, score) | language_facts(used, said)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))  # noqa: T201
    else:
        _show(Console(), found)


def arithmetic(used: FeatureSet, score: Score) -> dict[str, Any]:
    """The parts of a score. `share` is a part of everything that raises it, and null for what lowers it."""
    raised = score.raised or 1.0

    def share(contribution: float) -> float | None:
        return round(contribution / raised, 4) if contribution > 0 else None

    rows: list[dict[str, Any]] = [
        {
            "index": feature.index,
            "label": feature.label,
            "label_score": feature.label_score,
            "named": feature.named,
            "activation": round(float(pooled), 6),
            "weight": feature.weight,
            "threshold": feature.threshold,
            "contribution": round(float(contribution), 6),
            "share": share(float(contribution)),
        }
        for feature, pooled, contribution in zip(used.features, score.pooled, score.contributions, strict=False)
        if pooled
    ]
    rows.sort(key=lambda row: -abs(row["contribution"]))
    is_logistic = used.detector in ("weighted", "probe")
    total = float(score.contributions.sum()) + (score.probe or 0.0) + (used.bias if is_logistic else 0.0)
    total -= 0.0 if score.window is None else score.window.penalty
    return {
        "set": used.id,
        "version": used.version,
        "pooling": used.pooling.model_dump(mode="json", exclude_none=True),
        "features": rows,
        "bias": used.bias if is_logistic else None,
        "probe": None if score.probe is None else {"contribution": round(score.probe, 6), "share": share(score.probe)},
        "window": None
        if score.window is None
        else {"of": score.window.of, "contribution": -round(score.window.penalty, 6)},
        "logit": round(total, 6) if is_logistic else None,
        "score": round(score.value, 6),
        "threshold": used.active_from,
    }


def language_facts(used: FeatureSet, text: str) -> dict[str, Any]:
    """The text's language, null if unknown or if the set is for all languages, and whether the set abstains."""
    from monitor.tokens.language_identifier import LanguageIdentifier

    language = None if used.languages is None else LanguageIdentifier().language_of(text)
    return {
        "language": language,
        "languages": None if used.languages is None else list(used.languages),
        "abstains": used.abstains_on(language),
    }


def _show(console: Console, found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from monitor.report.visible_text import visible_line

    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("feature", "label"):
        table.add_column(column, overflow="fold")
    for column in ("activation", "weight", "contribution", "share"):
        table.add_column(column, justify="right")
    rows, rest = found["features"][:_SHOWN], found["features"][_SHOWN:]
    for row in rows:
        label = row["label"] if row["named"] else f"unnamed: {row['label']}"
        weight = row["weight"] if row["weight"] is not None else row["threshold"]
        numbers = (f"{row['activation']:.4g}", "" if weight is None else f"{weight:+.4g}")
        table.add_row(
            str(row["index"]), escape(visible_line(label)), *numbers, *_part(row["contribution"], row["share"])
        )
    if rest:
        shares = sum(row["share"] or 0 for row in rest)
        table.add_row(
            "", f"{len(rest)} more; --json has all", "", "", *_part(sum(r["contribution"] for r in rest), shares)
        )
    if found["probe"] is not None:
        table.add_row("", "linear probe", "", "", *_part(found["probe"]["contribution"], found["probe"]["share"]))
    if found["window"] is not None:
        penalty = f"{found['window']['contribution']:+.4f}"
        table.add_row("", f"highest of {found['window']['of']} windows", "", "", penalty, "")
    if found["bias"] is not None:
        table.add_row("", "bias", "", "", f"{found['bias']:+.4f}", "")
        table.add_row("", "logit, the sum of all", "", "", f"{found['logit']:+.4f}", "")
    console.print(table)
    state = "active" if found["score"] >= found["threshold"] else "not active"
    console.print(
        f"{found['set']} {found['version']}: score {found['score']:.4f}, threshold {found['threshold']:g}: {state}",
        highlight=False,
    )
    if found.get("abstains"):
        console.print(
            f"In this language ({found['language']}), {found['set']} abstains: it makes no score and no alert, because "
            f"it is only for {', '.join(found['languages'])}. `languages: any` among its overrides changes that.",
            highlight=False,
        )


def _part(contribution: float, share: float | None) -> tuple[str, str]:
    return f"{contribution:+.4f}", f"{share:.1%}" if share else ""


def _read(text: str) -> str:
    try:
        said = sys.stdin.read(_MAX_CHARS + 1) if text == "-" else Path(text).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"--text {text}: cannot be read: {e}") from None
    if len(said) > _MAX_CHARS:
        raise ConfigError(f"--text {text}: more than {_MAX_CHARS} characters")
    if not said.strip():
        raise ConfigError(f"--text {text}: empty")
    return said
