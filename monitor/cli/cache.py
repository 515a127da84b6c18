"""The commands `latentwatch cache list` and `cache clear`: what the cache holds, and how to make room."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from monitor.cli.options import ConfigOption
from monitor.cli.wiring import load_settings

if TYPE_CHECKING:
    from monitor.assembly.cache_folder import CacheFolder

cache_app = typer.Typer(help="Show or clear the compiled readers and converted models on this machine.")


@cache_app.command("list")
def list_(config: ConfigOption = None) -> None:
    """List what is in the cache: size, last use, and whether a process uses it now."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console, total = Console(), 0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("MB", justify="right")
    table.add_column("last used, UTC", no_wrap=True)
    table.add_column("in use")
    table.add_column("kind, name", overflow="fold")  # a name that is cut could not be found on disk
    root, folders = _folders(config)
    for kind, folder in folders.items():
        for entry in folder.entries():
            used = datetime.fromtimestamp(entry.used_at, UTC).strftime("%Y-%m-%d %H:%M")
            in_use = "yes" if entry.in_use else "no"
            table.add_row(f"{entry.bytes / 1e6:,.0f}", used, in_use, f"{kind} {escape(entry.folder.name)}")
            total += entry.bytes
    if table.row_count:
        console.print(table)
    console.print(f"{escape(str(root))}: {total / 1e6:,.0f} MB", highlight=False, soft_wrap=True)


@cache_app.command()
def clear(config: ConfigOption = None) -> None:
    """Remove everything from the cache that no process uses; it is made again when it is needed."""
    from rich.console import Console
    from rich.markup import escape

    console, freed = Console(), 0
    root, folders = _folders(config)
    for folder in folders.values():
        for entry in folder.entries():
            if folder.remove(entry.folder):
                freed += entry.bytes
            else:
                reason = "in use" if entry.in_use else "cannot be removed"
                console.print(f"kept {escape(entry.folder.name)}: {reason}", highlight=False, soft_wrap=True)
    console.print(f"{escape(str(root))}: {freed / 1e6:,.0f} MB freed", highlight=False, soft_wrap=True)


def _folders(config: Path | None) -> tuple[Path, dict[str, CacheFolder]]:
    from monitor.assembly.bundle_cache import bundles_folder
    from monitor.assembly.cache_folder import CacheFolder

    bundles = bundles_folder(load_settings(config).reader.cache_dir)
    folders = {"bundle": CacheFolder(bundles), "converted model": CacheFolder(bundles.with_name("models"))}
    return bundles.parent, folders
