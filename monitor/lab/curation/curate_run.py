"""The files of one curation: pages, candidate set, figures, config and log."""

from __future__ import annotations

from pathlib import Path

from monitor.config.sections import Config
from monitor.errors import ConfigError
from monitor.lab.curation.candidate_pages import PageFacts, write_pages
from monitor.lab.curation.candidate_set import set_text
from monitor.lab.curation.curate import CurationRequest, CurationResult
from monitor.lab.reading.hook import Hook
from monitor.lab.run_folder import run_config, write_json, write_log
from monitor.sets.load import load_feature_set

SET_FILE = "candidates.yaml"


def write_curation(folder: Path, request: CurationRequest, result: CurationResult, hook: Hook, config: Config) -> None:
    """Writes config.json, log.txt, metrics.json, candidates.yaml, index.html and candidates/.

    Raises ConfigError if the folder can't be written.
    """
    files = {"data": request.data, "benign": request.benign}
    wanted = {"category": request.category, "top": request.top, "pooling": request.pooling}
    config_json = {
        **run_config(hook.reader, files, request.seed, request.limit, config.sha256()),
        **wanted,
        "target_fpr": request.target_fpr,
        "segments": list(result.segments),
        "dtype": config.reader.dtype,
        "device": config.reader.device,
    }
    text = set_text(
        request.category,
        result.candidates,
        hook.reader,
        result.segments,
        request.pooling,
        ([str(path) for path in request.data], [str(path) for path in request.benign]),
        request.target_fpr,
        result.together,
    )
    facts = PageFacts(
        request.category, hook.reader, request.pooling, request.target_fpr, result.benign, tuple(result.notes)
    )
    try:
        write_json(folder / "config.json", config_json)
        write_json(folder / "metrics.json", [candidate.row() for candidate in result.candidates])
        write_log(folder / "log.txt", result.rows, result.notes)
        (folder / SET_FILE).write_text(text, encoding="utf-8")
        write_pages(folder, result.candidates, facts)
    except OSError as e:
        raise ConfigError(f"--out {folder}: cannot be written: {e.strerror}") from None
    load_feature_set(folder / SET_FILE)
