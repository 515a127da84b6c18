"""SetPages: precision of the feature sets, and what another threshold would do."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from monitor.review.access import READ
from monitor.review.precision import agreement, by_set, by_week
from monitor.review.proposal import ConfigFile, Proposal, proposal
from monitor.review.templates import Templates, may
from monitor.review.what_if import Slider, WhatIf, asked_threshold, slider, what_if


@dataclass(frozen=True)
class Asked:
    """A threshold that a visitor asks about."""

    slider: Slider
    now: WhatIf
    """At the lowest threshold of the slider's alerts."""
    then: WhatIf
    proposal: Proposal


class SetPages:
    """Endpoints about feature sets. They write nothing."""

    def __init__(self, engine: Engine, templates: Templates, config: ConfigFile | None) -> None:
        self._engine = engine
        self._templates = templates
        self._config = config

    def sets(self, request: Request) -> Response:
        """Precision of every set, and how far reviewers agree."""
        if (elsewhere := may(request, READ)) is not None:
            return elsewhere
        return self._templates.page(
            request, "sets.html.j2", sets=by_set(self._engine), agreement=agreement(self._engine)
        )

    def set(self, request: Request) -> Response:
        """Precision of one set by week, and the slider."""
        if (elsewhere := may(request, READ)) is not None:
            return elsewhere
        asked = self._asked(request)
        return self._templates.page(
            request,
            "set.html.j2",
            set_id=asked.slider.set_id,
            asked=asked,
            weeks=by_week(self._engine, asked.slider.set_id),
        )

    def proposal(self, request: Request) -> Response:
        """The change of the config, as a file."""
        if READ not in request.auth.scopes:
            raise HTTPException(401, "Log in first.", {"WWW-Authenticate": "Bearer"})
        asked = self._asked(request)
        name = "latentwatch.patch" if asked.proposal.is_diff else "latentwatch-threshold.yaml"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return PlainTextResponse(asked.proposal.text, headers=headers)

    def _asked(self, request: Request) -> Asked:
        found = slider(self._engine, request.query_params.get("id", "").replace("\0", ""))
        if found is None:
            raise HTTPException(404, "No alert of this set is stored.")
        threshold = asked_threshold(request.query_params.get("t", ""), found)
        return Asked(
            found,
            what_if(self._engine, found, found.lowest),
            what_if(self._engine, found, threshold),
            proposal(self._config, found.set_id, threshold),
        )
