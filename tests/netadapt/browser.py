"""A page as a browser shows it: every picture, on a screen and on a phone, without complaint."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import pytest

BROWSER = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: install one or set $CHROMIUM to its binary"
)

WIDTHS = (1280, 390)
PROBE = """<pre id="probe"></pre><script>
const errors = [];
addEventListener("error", e => errors.push(e.message));
addEventListener("load", () => {
  const shown = [...document.querySelectorAll("figure svg")].filter(s => s.getClientRects().length);
  const boxes = shown.map(svg => {
    const box = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")];
    const scale = texts.map(t => Math.hypot(t.getScreenCTM().a, t.getScreenCTM().b));
    const sizes = texts.map((t, i) => parseFloat(getComputedStyle(t).fontSize) * scale[i]);
    const places = texts.map(t => t.getBoundingClientRect());
    return {width: box.width, height: box.height, texts: texts.length, least: Math.min(...sizes),
      outside: places.filter(t => t.left < box.left - 1 || t.right > box.right + 1).length};
  });
  document.getElementById("probe").textContent = JSON.stringify({errors, boxes,
    fetched: performance.getEntriesByType("resource").map(r => r.name),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth});
});
</script></body>"""


def check_shown(page: str, pictures: int, folder: Path) -> None:
    """In frames as wide as a screen and a phone: a browser's window may not be that narrow."""
    path = folder / "in_frames.html"
    inner = escape(page.replace("</body>", PROBE))
    frames = "".join(
        f'<iframe style="border: 0; width: {width}px; height: 900px" srcdoc="{inner}"></iframe>'
        for width in WIDTHS
    )
    outer = """<pre id="seen"></pre><script>
const seen = () => document.getElementById("seen").textContent = "[" +
  [...document.querySelectorAll("iframe")].map(
    f => f.contentDocument.getElementById("probe").textContent) + "]";
addEventListener("load", () => setTimeout(seen, 0));
</script>"""
    path.write_text(f'<!doctype html><meta charset="utf-8">{frames}{outer}', "utf-8")
    done = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={folder / 'profile'}",
            "--window-size=1400,900",
            "--enable-logging=stderr",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    match = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match is not None
    for width, seen in zip(WIDTHS, json.loads(unescape(match[1])), strict=True):
        assert seen["errors"] == []
        assert seen["fetched"] == []
        assert seen["overflow"] <= 0
        assert len(seen["boxes"]) == pictures
        for box in seen["boxes"]:
            assert box["width"] > min(600, 0.8 * width)
            assert box["height"] > 100
            assert box["texts"] > 5
            assert box["least"] >= 11
            assert box["outside"] == 0
