"""CommandGroup: the commands of latentwatch; those of the lab are loaded only when they are used."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import typer


class CommandGroup(typer.core.TyperGroup):
    """Adds `lab`. Its module is imported late, so that the runtime never loads the lab or its libraries.

    The error for an unknown command suggests similar ones, or lists all.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), "lab"]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name != "lab":
            return super().get_command(ctx, cmd_name)
        from monitor.lab.cli import app

        return typer.main.get_group(app)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            close = get_close_matches(args[0], known)
            hint = f"Did you mean {' or '.join(close)}?" if close else f"The commands are {', '.join(known)}."
            ctx.fail(f"No such command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)
