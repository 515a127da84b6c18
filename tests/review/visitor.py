"""Visitor: a browser's requests to the review page, without a browser."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Engine
from starlette.testclient import TestClient

from monitor.review.access import Access, OpenAccess
from monitor.review.app import ReviewSettings, review_app

LOCAL = "http://localhost"


class Visitor:
    """Keeps cookies, like a browser."""

    def __init__(
        self,
        engine: Engine,
        access: Access | None = None,
        settings: ReviewSettings | None = None,
        base_url: str = LOCAL,
        address: str = "127.0.0.1",
    ) -> None:
        app = review_app(engine, access or OpenAccess(), settings or ReviewSettings())
        self.client = TestClient(app, base_url, client=(address, 50_000), follow_redirects=False)

    def page(self, path: str, status: int = 200, **headers: str) -> str:
        """The text of a page."""
        answer = self.client.get(path, headers={"Accept": "text/html", **_dashed(headers)})
        assert answer.status_code == status, answer.text
        return answer.text

    def send(self, path: str, page: str | None = None, status: int = 303, **fields: Any) -> str:
        """Sends a form that was on `page`; returns where the answer leads to."""
        if page is not None:
            found = re.search(r'name="csrf" value="([^"]+)"', self.page(page))
            assert found is not None
            fields["csrf"] = found[1]
        answer = self.client.post(path, data=fields)
        assert answer.status_code == status, answer.text
        return answer.headers.get("location", "")


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
