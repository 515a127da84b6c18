"""The cards of a set's named latents, from texts that may be shown to anyone."""

from __future__ import annotations

from pathlib import Path

from monitor.errors import ConfigError
from monitor.lab.labelling.cards_page import PAGE_FILE, cards_page
from monitor.lab.labelling.sheet import NamingSheet, naming_sheets
from monitor.lab.labelling.texts import LabelTexts
from monitor.sets.feature_cards import CardContext, FeatureCard, Firing, Lens, load_cards, save_cards
from monitor.sets.labels import LABELS_FILE, load_labels

SHOWN = 6
"""Most contexts of a card."""


def write_cards(folder: Path, read: LabelTexts) -> tuple[Path, int]:
    """Adds the cards of the latents that were read to the file next to the set, and replaces older ones of them.

    Writes them as a page, too. Returns the path, and how many cards were written. Cards of another SAE go.
    """
    sae = read.hook.reader.sae.sha256
    sheets, _ = naming_sheets(read, show_benign=False)  # traffic, perhaps, which is nobody's to show
    kept = {index: card for index, card in load_cards(folder).items() if card.sae_sha256 == sae}
    made = {sheet.feature.index: _card(sheet, sae) for sheet in sheets}
    cards = {**kept, **made}
    labels, _ = load_labels(folder / LABELS_FILE)
    path = save_cards(folder, cards)
    try:
        (folder / PAGE_FILE).write_text(cards_page(cards, labels), encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{folder / PAGE_FILE}: cannot be written: {e.strerror}") from None
    return path, len(made)


def _card(sheet: NamingSheet, sae: str) -> FeatureCard:
    lens = sheet.lens_row()
    highest = sheet.contexts.histogram.highest
    shown = (*sheet.contexts.strongest[: SHOWN - 2], *sheet.contexts.middle[:2])
    return FeatureCard(
        index=sheet.feature.index,
        sae_sha256=sae,
        contexts=tuple(
            CardContext(
                file=context.file,
                row=context.row,
                tokens=tuple((run.text, round(run.strength * highest, 3)) for run in context.runs),
            )
            for context in shown
        ),
        logit_lens=None if lens is None else Lens.model_validate(lens),
        firing={side: Firing.model_validate(rate) for side, rate in sheet.rates_row().items()},
    )
