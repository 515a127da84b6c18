"""The files of one export: sheets and pages to name latents from, and contexts kept back to judge the labels."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from monitor.errors import ConfigError
from monitor.lab.labelling.held_back import held_back
from monitor.lab.labelling.jsonl import write_lines
from monitor.lab.labelling.naming_pages import write_naming_pages
from monitor.lab.labelling.sheet import naming_sheets
from monitor.lab.labelling.texts import LabelTexts
from monitor.lab.run_folder import run_config, write_json, write_log

SHEETS_FILE = "sheets.jsonl"
HELD_BACK_FILE = "held_back.jsonl"


def write_export(folder: Path, read: LabelTexts, each: int) -> list[str]:
    """Writes sheets.jsonl, index.html, features/, held_back.jsonl, config.json and log.txt; returns notes.

    `each` is the number of contexts that are kept back for each kind of question and answer.
    """
    sheets, inactive = naming_sheets(read)
    if not sheets:
        raise ConfigError("--rows: no latent of the set is active on these texts")
    notes = []
    if inactive:
        shown = ", ".join(map(str, inactive[:10])) + (" and more" if len(inactive) > 10 else "")
        notes.append(f"{len(inactive)} latents are not active on the texts for naming and have no sheet: {shown}")
    latents = [sheet.feature.index for sheet in sheets]
    judged = list(held_back(latents, read.kept_back, read.request.seed, each))
    few = sum(len(questions) < 2 * each for questions in judged)
    if few:
        notes.append(f"{few} latents have fewer than {2 * each} questions kept back; give more rows for surer scores")
    request = read.request
    files = {"rows": request.rows, "benign": request.benign}
    write_lines(folder / SHEETS_FILE, (sheet.row() for sheet in sheets))
    write_lines(folder / HELD_BACK_FILE, (asdict(question) for questions in judged for question in questions))
    try:
        for name in (SHEETS_FILE, HELD_BACK_FILE):
            (folder / name).chmod(0o600)  # they hold pieces of the texts
        info = run_config(read.hook.reader, files, request.seed, request.limit, read.config.sha256())

        counts = {
            "rows_for_naming": sum(len(texts.rows) for texts in read.naming),
            "rows_kept_back": sum(len(texts.rows) for texts in read.kept_back),
        }
        write_json(folder / "config.json", {**info, "set": read.used.id, "each": each, **counts})
        write_log(folder / "log.txt", read.counts, notes)
        write_naming_pages(folder, sheets, read.used)
    except OSError as e:
        raise ConfigError(f"--out {folder}: cannot be written: {e.strerror}") from None
    return notes
