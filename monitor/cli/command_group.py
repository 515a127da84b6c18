"""CommandGroup: the commands of latentwatch, of which the lab's are loaded when they are asked for."""

from __future__ import annotations

from typing import Any

import typer


class CommandGroup(typer.core.TyperGroup):
    """Adds `lab`. Its module is imported late, so that the runtime never loads the lab or needs what it needs."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), "lab"]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name != "lab":
            return super().get_command(ctx, cmd_name)
        from monitor.lab.cli import app

        return typer.main.get_group(app)
