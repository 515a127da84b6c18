"""The command `latentwatch features`: what is known about one feature."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.options import ConfigOption
from monitor.cli.wiring import load_sets, load_settings
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from monitor.sets.load import LoadedSet

features_app = typer.Typer(help="Show single features.", no_args_is_help=True)


@features_app.command("show")
def show_feature(
    set_id: Annotated[str, typer.Argument(metavar="SET", help="Id of a set that uses it.")],
    index: Annotated[int, typer.Argument(metavar="INDEX", help="Index of the latent in the SAE.", min=0)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show one feature: its label and how well that holds up, what it is active on, and which sets use it."""
    from rich.console import Console

    sets = load_sets(load_settings(config))
    loaded = next((one for one in sets if one.set.id == set_id), None)
    if loaded is None:
        raise ConfigError(f"no set {set_id} in use; `latentwatch sets list` shows them")
    found = feature_facts(loaded, index, sets)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))  # noqa: T201
    else:
        _show(Console(), found)


def feature_facts(loaded: LoadedSet, index: int, sets: list[LoadedSet]) -> dict[str, Any]:
    """All that the files of the sets say about a feature. Raises ConfigError if the set has no such feature."""
    from monitor.sets.feature_cards import load_cards
    from monitor.sets.labels import LABELS_FILE, load_labels

    feature = next((one for one in loaded.shipped.features if one.index == index), None)
    if feature is None:
        raise ConfigError(
            f"{loaded.set.id} has no feature {index}; `latentwatch sets show {loaded.set.id} --json` has all"
        )
    sae = loaded.shipped.reader.sae.sha256
    labels, _ = load_labels(loaded.path.with_name(LABELS_FILE))
    name = labels.names.get(index)
    card = load_cards(loaded.path.parent).get(index)
    if card is not None and card.sae_sha256 != sae:
        card = None
    known = {one.index for one in loaded.set.features}
    return {
        "set": loaded.set.id,
        "index": index,
        "label": feature.label,
        "named": feature.named,
        "label_score": None if name is None or name.score is None else name.score.model_dump(mode="json"),
        "note": "" if name is None else name.note,
        "origin": "" if name is None else name.origin,
        "false_friends": [] if name is None else list(name.false_friends),
        "strongest_tokens": labels.labels.get(index),
        "weight": feature.weight,
        "threshold": feature.threshold,
        "enabled": index in known,
        "used_by": [
            one.set.id for one in sets if one.shipped.reader.sae.sha256 == sae and index in one.shipped.indices()
        ],
        "firing": {} if card is None else {side: rate.model_dump() for side, rate in card.firing.items()},
        "logit_lens": None if card is None or card.logit_lens is None else card.logit_lens.model_dump(mode="json"),
        "contexts": [] if card is None else [context.model_dump(mode="json") for context in card.contexts],
        "sae": {"sha256": sae, "layer": loaded.shipped.reader.layer, "model": loaded.shipped.reader.model},
    }


def _show(console: Console, found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.text import Text

    from monitor.report.visible_text import visible_line

    def say(name: str, text: str) -> None:
        console.print(f"[bold]{name}:[/] {escape(visible_line(text))}", highlight=False)

    title = found["label"] if found["named"] else f"unnamed: {found['label']}"
    heading = f"[bold]Feature {found['index']}[/] of {found['set']}: {escape(visible_line(title))}"
    console.print(heading + ("" if found["enabled"] else " (disabled by the config)"), highlight=False)
    score = found["label_score"]
    if score is None:
        say("Label score", "not measured")
    else:
        low, high = score["interval_95"]
        fuzzing = "" if score["fuzzing"] is None else f"; fuzzing {score['fuzzing']:.2f}, n {score['fuzzing_n']}"
        text = f"detection {score['detection']:.2f} (95 % interval {low:.2f} to {high:.2f}, n {score['n']}){fuzzing}"
        say("Label score", text)
    for key in ("note", "origin", "strongest_tokens"):
        if found[key]:
            say(key.replace("_", " ").capitalize(), found[key])
    for friend in found["false_friends"]:
        say("Not", friend)
    for key in ("weight", "threshold"):
        if found[key] is not None:
            say(key.capitalize(), f"{found[key]:.4g}")
    say("Used by", ", ".join(found["used_by"]))
    for side, rate in found["firing"].items():
        say(f"Active on {side} texts", f"{rate['texts']:.1%} of {rate['n']}, {rate['tokens']:.2%} of their tokens")
    if found["logit_lens"] is not None:
        for side, tokens in found["logit_lens"].items():
            say(side.capitalize(), ", ".join(repr(token) for token in tokens))
    for context in found["contexts"]:
        highest = max((value for _, value in context["tokens"]), default=0.0) or 1.0
        line = Text(f"  {highest:.3g}  ")
        for piece, value in context["tokens"]:
            line.append(visible_line(piece), "bold" if value >= highest / 2 else "underline" if value > 0 else "")
        console.print(line, highlight=False)
    if not found["contexts"]:
        say("Contexts", "none; `latentwatch lab label cards` writes them")
