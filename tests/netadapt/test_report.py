"""The page of a report: what it says of a whole and of a bare run, and how a browser takes it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path

import pytest

from netadapt.report.page import render, write_page
from netadapt.report.records import Candidate, Fact, PredictedMeasured, Probe, RunReport
from netadapt.text import milliseconds, quantity
from tests.netadapt.sample_report import sample_report

BROWSER = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PICTURES = ["search", "networks", "kernels", "predicted", "loop", "errors", "durations"]

BARE = RunReport(
    name="bare",
    finished=False,
    score_name="accuracy",
    score_is_share=True,
    search_metric="latency",
    search_unit="ms",
    budgets=(),
    networks=(),
    scaled_variants=(),
    candidates=(),
    path=(),
    probes=(),
    found_alone_ms=(),
    predicted_measured=(),
    drawings=(),
    kernel_shares=(),
    predictor=(),
    conditions=(),
    settings=(Fact("run.name", "bare"),),
    durations=(),
)


@pytest.fixture(scope="module")
def page() -> str:
    return render(sample_report())


def test_every_picture_is_well_formed_and_described(page: str) -> None:
    pictures = re.findall(r"<figure id=\"figure-(\w+)\">\s*(<svg.*?</svg>)", page, re.DOTALL)
    assert [name for name, _ in pictures] == PICTURES
    for _, svg in pictures:
        root = ET.fromstring(svg)
        assert root.get("aria-label")
        assert root.get("width") is None
        assert root.find(".//{http://www.w3.org/2000/svg}text") is not None
    assert page.count("<figcaption>") == len(PICTURES)


def test_ids_are_unique_over_all_pictures(page: str) -> None:
    defined = re.findall(r'<(?:clipPath|path|marker)[^>]* id="([^"]+)"', page)
    assert defined
    assert len(defined) == len(set(defined))


def test_the_page_fetches_nothing(page: str) -> None:
    assert not re.findall(r"<(?:script|link rel=.stylesheet|img|iframe)", page)
    assert not re.findall(r"url\((?!#)", page)
    assert not [
        x for x in re.findall(r'(?:href|src)="([^"]*)"', page) if x[:1] != "#" and x != "data:,"
    ]


def test_the_verdict_names_what_was_met(page: str) -> None:
    text = unescape(page)
    assert "The budget is met: the found network takes 0.394 ms when measured" in text
    assert "98.0 %" in text


def test_a_missed_budget_is_called_missed() -> None:
    report = sample_report()
    late = dataclasses.replace(report.budgets[0], reached=0.41)
    text = render(dataclasses.replace(report, budgets=(late, *report.budgets[1:])))
    assert "The budget is missed in latency" in text
    assert "102.0 %" in text


def test_texts_of_the_run_are_escaped(page: str) -> None:
    assert "<b>&" not in page.replace('<div class="tile', "")
    assert "demo &lt;b&gt;&amp;amp;" in page
    assert "&lt;i&gt;of some make&lt;/i&gt;" in page


def test_an_unfinished_run_says_what_is_missing() -> None:
    page = render(BARE)
    assert "not finished" in page
    assert "<svg" not in page
    assert page.count('class="missing"') == 9


def test_equal_records_give_equal_pages(page: str) -> None:
    assert render(sample_report()) == page


def test_a_single_candidate_and_pair_can_be_drawn() -> None:
    report = dataclasses.replace(
        BARE,
        candidates=(Candidate(1, 0.5, 0.4),),
        predicted_measured=(PredictedMeasured("trained", 0.4, 0.41),),
    )
    assert render(report).count("<svg") == 2


def test_both_times_of_the_found_network_are_named(page: str) -> None:
    assert "by itself, twice: 0.393 ms and 0.396 ms" in unescape(page)
    silent = dataclasses.replace(BARE, found_alone_ms=(0.5, 0.51))
    assert "Nothing was measured while the search went on" in render(silent)


def test_one_probe_without_a_guard_can_be_drawn() -> None:
    report = dataclasses.replace(BARE, probes=(Probe(0, 1.0, 1.4, kept=True, guard=0.0),))
    assert "-29 %" in render(report), "an error beyond the axis is written out"


@pytest.mark.parametrize(
    ("ms", "text"), [(0.0348, "34.8 us"), (0.394, "0.394 ms"), (3.21, "3.21 ms"), (321, "321 ms")]
)
def test_milliseconds_keep_three_digits(ms: float, text: str) -> None:
    assert milliseconds(ms) == text


@pytest.mark.parametrize(
    ("value", "text"), [(812, "812"), (48_210, "48.2 k"), (3.41e6, "3.41 M"), (2e9, "2 G")]
)
def test_quantities_are_readable(value: float, text: str) -> None:
    assert quantity(value) == text


PROBE = """<pre id="probe"></pre><script>
const errors = [];
addEventListener("error", e => errors.push(e.message));
addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("figure svg")].map(svg => {
    const box = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].map(t => t.getBoundingClientRect());
    return {width: box.width, height: box.height, texts: texts.length,
      outside: texts.filter(t => t.left < box.left - 1 || t.right > box.right + 1).length};
  });
  document.getElementById("probe").textContent = JSON.stringify({errors, boxes,
    fetched: performance.getEntriesByType("resource").map(r => r.name),
    overflow: document.documentElement.scrollWidth - innerWidth});
});
</script></body>"""


@pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: install one or set $CHROMIUM to its binary"
)
def test_a_browser_shows_every_picture_without_complaint(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(sample_report(), path)
    path.write_text(path.read_text("utf-8").replace("</body>", PROBE), "utf-8")
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
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1000,900",
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
    match = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match is not None
    seen = json.loads(unescape(match[1]))
    assert seen["errors"] == []
    assert seen["fetched"] == []
    assert seen["overflow"] <= 0
    assert len(seen["boxes"]) == len(PICTURES)
    for box in seen["boxes"]:
        assert box["width"] > 600
        assert box["height"] > 100
        assert box["texts"] > 5
        assert box["outside"] == 0
