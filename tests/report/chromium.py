"""Chromium without a window, for pages on disk."""

from __future__ import annotations

import html
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

# Runs a script inside a page on disk; `page` and `root` are its document and root element, `out` is the answer.
_FRAME = """<!doctype html><body><iframe id="f" src="%s" style="width:%dpx;height:844px;border:0"></iframe><script>
const f = document.getElementById("f");
f.onload = async () => {
  const page = f.contentDocument;
  const root = page.documentElement;
  let out;
  try {
    %s
  } catch (error) {
    out = String(error);
  }
  document.body.dataset.answer = JSON.stringify(out);
};
</script>"""


class Chromium:
    """Runs one page at a time, each with a fresh profile and without network services."""

    def __init__(self, executable: str) -> None:
        self._executable = executable

    def dom(self, page: Path, width: int, dark: bool) -> str:
        """The document after its scripts ran."""
        return self._run(page, width, 844, dark, "--dump-dom")[0]

    def overflow(self, page: Path, width: int, dark: bool) -> int:
        """By how many pixels the page is wider than `width`."""
        return int(self.script(page, "out = root.scrollWidth - root.clientWidth;", width, dark))

    def script(self, page: Path, script: str, width: int = 1280, dark: bool = False) -> Any:
        """What `script` assigns to `out`, run in the loaded page: JSON values only."""
        frame = page.with_name("frame.html")
        frame.write_text(_FRAME % (page.name, width, script))
        dom = self._run(frame, 1280, 844, dark, "--dump-dom", "--allow-file-access-from-files")[0]
        found = re.search(r'data-answer="([^"]*)"', dom)
        if found is None:
            raise AssertionError("the script gave no answer")
        return json.loads(html.unescape(found[1]))

    def violations(self, page: Path, width: int) -> str:
        """What the browser refused under the page's policy, as it logs it."""
        log = self._run(page, width, 844, False, "--dump-dom", "--enable-logging=stderr")[1]
        return "\n".join(line for line in log.split("\n") if "Content Security Policy" in line)

    def screenshot(self, page: Path, to: Path, width: int, height: int, dark: bool) -> None:
        """A PNG of the window."""
        self._run(page, width, height, dark, f"--screenshot={to}")

    def _run(self, page: Path, width: int, height: int, dark: bool, *action: str) -> tuple[str, str]:
        with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
            done = subprocess.run(
                [
                    self._executable, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    f"--user-data-dir={profile}", f"--window-size={width},{height}",
                    f"--blink-settings=preferredColorScheme={0 if dark else 1}", *action, page.as_uri(),
                ],
                capture_output=True,
                timeout=120,
                check=True,
            )  # fmt: skip
        return done.stdout.decode(), done.stderr.decode(errors="replace")
