"""The page of a report: what it says of a whole and of a bare run, and how a browser takes it."""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from html import unescape
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from netadapt.report.figures.canvas import VARIABLES
from netadapt.report.figures.search import near
from netadapt.report.intervals import Estimate
from netadapt.report.page import render
from netadapt.report.records import (
    Candidate,
    Fact,
    LossCurve,
    PredictedMeasured,
    Probe,
    RunReport,
    SearchReport,
    TrainedNetwork,
)
from netadapt.report.verdict import MINUS, PLUS_MINUS
from netadapt.text import LatencyUnit, milliseconds, quantity
from tests.netadapt.browser import check_shown, needs_browser
from tests.netadapt.sample_report import (
    BESIDE,
    FOUND,
    PUBLISHED,
    REFERENCE,
    SCALED,
    THIS_RUN,
    sample_front,
    sample_report,
)

PICTURES = ["tradeoff", "search-0-5", "loop-0-5", "networks", "blocks", "kernels", "channels"]
PICTURES += [
    "maps-0-5",
    "masking-0-5",
    "choices-0-5",
    "residuals",
    "errors",
    "learning",
    "losses",
    "durations",
]
SVG = "{http://www.w3.org/2000/svg}"

BARE = RunReport(
    name="bare",
    finished=False,
    about=(),
    score_name="accuracy",
    score_is_share=True,
    higher_is_better=True,
    searched_by="accuracy",
    search_metric="latency",
    search_unit="ms",
    searches=(),
    networks=(),
    predicted_measured=(),
    drawings=(),
    wholes=(),
    blocks=(),
    kernel_types=(),
    latency_map=None,
    predictor=(),
    learning=(),
    losses=(),
    conditions=(),
    settings=(Fact("run.name", "bare"),),
    durations=(),
)


def search_of(*candidates: Candidate, probes: tuple[Probe, ...] = ()) -> SearchReport:
    return SearchReport("0.5", "50 %", (), candidates, (), probes, ())


@pytest.fixture(scope="module")
def page() -> str:
    return render(sample_report())


@pytest.fixture(scope="module")
def front() -> str:
    """Of several searches, without what a page of one has as well."""
    report = sample_front()
    few = dataclasses.replace(
        BARE, finished=True, searches=report.searches, networks=report.networks
    )
    return render(few)


def outcome(*networks: TrainedNetwork, **changes: Any) -> str:
    """The text of a page that has these networks and the sample's budgets, and little else."""
    (search,) = sample_report().searches
    bare = dataclasses.replace(search, candidates=(), path=(), probes=())
    report = dataclasses.replace(BARE, finished=True, searches=(bare,), networks=networks)
    page = unescape(render(dataclasses.replace(report, **changes)))
    return re.sub(r"\s+", " ", page)


def figures_of(page: str) -> dict[str, list[ET.Element]]:
    """Both drawings of each picture by name."""
    figures = re.findall(r"<figure id=\"figure-([\w-]+)\">(.*?)</figure>", page, re.DOTALL)
    return {
        name: [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", content, re.DOTALL)]
        for name, content in figures
    }


def described(page: str, name: str) -> str:
    """What those are told of a picture who do not see it."""
    text = figures_of(page)[name][0].findtext(f"{SVG}desc")
    assert text is not None
    return text


def test_every_picture_is_drawn_for_screens_and_for_phones(page: str) -> None:
    figures = figures_of(page)
    assert sorted(figures) == sorted(PICTURES)
    for drawings in figures.values():
        assert [svg.get("class") for svg in drawings] == ["wide", "narrow"]
        for svg in drawings:
            assert svg.get("width") is None
            assert svg.find(f".//{SVG}text") is not None
    assert page.count("<figcaption>") == len(PICTURES)


def test_every_picture_says_its_data_in_words(page: str) -> None:
    for name, drawings in figures_of(page).items():
        for svg in drawings:
            assert svg.get("role") == "img"
            label = (svg.get("aria-labelledby") or "").split()
            parts = [svg.find(f"{SVG}{tag}") for tag in ("title", "desc")]
            assert [part.get("id") for part in parts if part is not None] == label
        assert re.search(r"\d", described(page, name)), name
    assert "found: 0.394 ms, 84.2 %" in described(page, "tradeoff")
    assert "Latency budget: 0.402 ms" in described(page, "tradeoff")
    assert "block 3 removed" in described(page, "networks")


def test_text_is_large_enough_at_the_least_width_it_is_shown_at(page: str) -> None:
    """Of a phone 390 px wide, and of a page just wide enough for the wide drawings."""
    for drawings in figures_of(page).values():
        for svg, shown_px in zip(drawings, (704 - 2 * 17 * 1.25, 390 - 2 * 16), strict=True):
            width = float(svg.get("viewBox", "").split()[2])
            sizes = [
                float(size)
                for text in svg.iter(f"{SVG}text")
                for size in re.findall(r"font-size: ([\d.]+)px", text.get("style") or "")
            ]
            assert sizes
            assert min(sizes) * shown_px / width >= 11


def test_colours_follow_the_page_and_can_be_read() -> None:
    """Contrast of text at least 4.5 to 1, light and dark, and of all that is drawn as well."""
    style = (files("netadapt.report") / "page.css").read_text("utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    )
    assert light.keys() == dark.keys()
    for colours in (light, dark):
        for name in colours.keys() - {"paper", "panel", "line"}:
            for ground in ("paper", "panel"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for stand_in, variable in VARIABLES.items():
        if variable != "currentColor":
            assert light[variable.removeprefix("var(--").removesuffix(")")] == stand_in


def contrast(first: str, second: str) -> float:
    """WCAG 2.1."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_no_picture_has_a_colour_of_its_own_but_the_map(page: str) -> None:
    for name, drawings in figures_of(page).items():
        if name != "channels":
            for svg in drawings:
                assert not re.findall(r"(?:fill|stroke): #", ET.tostring(svg, "unicode")), name


def test_ids_are_unique_over_all_pictures(front: str) -> None:
    defined = re.findall(r' id="([^"]+)"', front)
    assert defined
    assert len(defined) == len(set(defined))
    for said in re.findall(r'aria-labelledby="([^"]+)"', front):
        assert set(said.split()) <= set(defined)


def test_the_page_fetches_nothing(page: str) -> None:
    assert not re.findall(r"<(?:script|link rel=.stylesheet|img|iframe)", page)
    assert not re.findall(r"url\((?!#)", page)
    places = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert all(place.startswith(("#", "data:")) for place in places)


def test_the_verdict_is_a_difference_with_its_interval(page: str) -> None:
    text = unescape(page)
    assert "The found network is 2.04 times faster (2.01 to 2.07) than the reference at" in text
    assert f"{MINUS}0.9 {PLUS_MINUS} 1.6 points of accuracy" in text
    assert "too close to call on 4,000 test images" in text
    assert "It meets its budget: it takes 0.394 ms of 0.402 ms when measured, 98.0 %" in text
    assert "98.0 %" in text
    assert "Newcombe" in text
    assert "95 %" in text


def test_scaled_networks_say_by_how_much_they_are_slower(page: str) -> None:
    assert "scaled in width to about that latency (11.0 % slower)" in unescape(page)
    quick = dataclasses.replace(SCALED, latency_ratio=0.48)
    assert "to about that latency (2.0 % faster)" in outcome(REFERENCE, FOUND, quick)


def test_latencies_are_compared_within_their_session() -> None:
    """By their ratios to the reference, whose own uncertainty is in none of them."""
    other = dataclasses.replace(FOUND, measured_ms=0.9, latency_ratio=0.5, measured_spread=0.03)
    assert other.times_faster(REFERENCE) == Estimate(2.0, 2 / 1.03, 2 * 1.03)
    assert other.times_faster(dataclasses.replace(other, measured_spread=0.04)) == Estimate(
        1.0, 1 / 1.05, 1.05
    )
    alone = dataclasses.replace(other, latency_ratio=None)
    assert alone.times_faster(REFERENCE).value == pytest.approx(0.804 / 0.9)


def test_a_score_that_is_no_share_is_compared_without_an_interval() -> None:
    networks = (
        dataclasses.replace(REFERENCE, score=0.31, images=None),
        dataclasses.replace(FOUND, score=0.35, images=None),
    )
    text = outcome(*networks, score_name="error", score_is_share=False)
    assert "than the reference at +0.04 in error." in text


def test_a_missed_budget_is_called_missed() -> None:
    late = dataclasses.replace(sample_report().searches[0].budgets[0], reached=0.41)
    missed = dataclasses.replace(search_of(), budgets=(late,))
    text = outcome(REFERENCE, FOUND, searches=(missed,))
    assert "It misses its budget in latency" in text
    assert "102.0 %" in text


def test_the_rows_of_found_networks_are_marked(page: str, front: str) -> None:
    for text, found in ((page, ["found"]), (front, ["found 0.75", "found 0.5", "found 0.35"])):
        marked = re.findall(r'<tr class="strong">\s*<th scope="row">([^<]*)</th>', text)
        assert marked == [*found, *found], "in the table of networks and in that of differences"
    assert page.count("tr.strong") >= 1
    assert "&#34;strong" not in page


def test_each_search_has_its_part_and_the_front_joins_what_they_found(front: str) -> None:
    figures = figures_of(front)
    for label in ("0-75", "0-5", "0-35"):
        assert {f"search-{label}", f"loop-{label}"} <= figures.keys()
    assert front.count("<h3>Budget: ") == 9
    assert [text.count("times faster") for text in re.findall(r"<li>.*?</li>", front)].count(1) == 3
    assert "The line joins the networks found" in front
    said = described(front, "tradeoff")
    assert "Latency budget: 0.615 ms, 0.402 ms, 0.281 ms" in said
    assert said.count("found") == 3


def test_tables_have_heads_scopes_and_names(page: str) -> None:
    tables = re.findall(r"<table.*?</table>", page, re.DOTALL)
    assert len(tables) >= 5
    for table in tables:
        assert "<caption>" in table
        assert not re.findall(r"<th(?! scope=)[ >]", table)
        body = table[table.index("<tbody>") :]
        assert body.count("<tr") == body.count('<th scope="row">')
        if 'class="facts"' not in table:
            assert "<thead>" in table
    assert page.count("<table>") == page.count('class="wide-table" tabindex="0" role="region"')


def test_latencies_of_a_table_have_one_unit() -> None:
    """Networks on both sides of 0.1 ms: all of them in microseconds."""
    fast = [
        dataclasses.replace(n, measured_ms=n.measured_ms / 5, predicted_ms=n.predicted_ms / 5)
        for n in (REFERENCE, FOUND)
    ]
    text = outcome(*fast)
    (table,) = re.findall(r"<caption>Trained networks.*?</table>", text, re.DOTALL)
    assert "measured, µs" in table
    assert "161 ± 1.2 %" in table
    assert "78.8 ± 1.5 %" in table
    assert " ms" not in table
    assert not re.findall(r"\d us\b", text)


def test_published_networks_are_numbered_in_the_picture_and_named_in_their_table() -> None:
    page = outcome(REFERENCE, FOUND, SCALED, published=PUBLISHED)
    said = described(page, "tradeoff")
    assert "MobileNetV3-Small: 0.600 ms, 67.7 %; MobileNetV2: 1.20 ms, 73 %." in said
    assert "FastDepth" not in said, "metres are no accuracy"
    wide, _ = figures_of(page)["tradeoff"]
    texts = [text.text for text in wide.iter(f"{SVG}text")]
    assert {"published", "1", "2"} <= set(texts)
    (table,) = re.findall(r"<caption>Published networks.*?</table>", page, re.DOTALL)
    assert re.findall(r'<th scope="row">([^<]*)</th>', table) == [
        "this run: found",
        "this run: scaled 0.62 x, own kernels",
        "1: MobileNetV3-Small",
        "this run: reference",
        "FastDepth",
        "2: MobileNetV2",
    ]
    assert "1.10 (unstable)" in table
    assert "NYU Depth V2 RMSE 0.604 m, NYU Depth V2 delta-1 0.771 (arXiv 1903.03273" in table


def test_where_accuracies_do_not_compare_published_networks_stand_in_a_table_alone() -> None:
    apart = tuple(dataclasses.replace(n, score=None) for n in PUBLISHED)
    text = outcome(REFERENCE, FOUND, published=apart)
    assert "nothing but latency, MACs and parameters compares" in text
    assert '<th scope="row">MobileNetV2</th>' in text
    assert "Numbered squares" not in text
    plain = figures_of(outcome(REFERENCE, FOUND))["tradeoff"]
    assert [*map(ET.tostring, plain)] == [*map(ET.tostring, figures_of(text)["tradeoff"])]


def test_published_networks_need_no_trained_ones() -> None:
    assert "MobileNetV2" in render(dataclasses.replace(BARE, published=PUBLISHED))


def test_the_page_says_where_it_comes_from(page: str) -> None:
    assert "netadapt 0.1.1 (commit 0123abc)" in page
    assert "netadapt search run.toml" in page


def test_texts_of_the_run_are_escaped(page: str) -> None:
    assert "<b>&" not in page.replace('<div class="tile', "")
    assert "demo &lt;b&gt;&amp;amp;" in page
    assert "&lt;i&gt;of some make&lt;/i&gt;" in page


def test_an_unfinished_run_says_what_is_missing() -> None:
    page = render(BARE)
    assert "not finished" in page
    assert "<svg" not in page
    assert page.count('class="missing"') == 10


def test_equal_records_give_equal_pages() -> None:
    assert outcome(REFERENCE, FOUND) == outcome(REFERENCE, FOUND)


def test_a_single_candidate_and_pair_can_be_drawn() -> None:
    report = dataclasses.replace(
        BARE,
        searches=(search_of(Candidate(1, 0.5, 0.4)),),
        predicted_measured=(PredictedMeasured("trained", 0.4, 0.41),),
        losses=(LossCurve("supernet", (1,), (2.3,)),),
    )
    assert render(report).count("<svg") == 2 * 3


def test_it_says_how_clear_the_choice_was() -> None:
    candidates = (Candidate(1, 1.2, 0.4), Candidate(1, 1.3, 0.4))
    for lead, said in (
        (Estimate(0.0212, -0.001, 0.0434), "is 0.021 ± 0.022 higher on the same images: about as"),
        (Estimate(0.05, 0.01, 0.09), "is 0.050 ± 0.040 higher on the same images: a clear choice"),
    ):
        search = dataclasses.replace(search_of(*candidates), lead=lead)
        assert said in unescape(render(dataclasses.replace(BARE, searches=(search,))))


def test_a_search_without_a_latency_budget_can_be_drawn() -> None:
    search = search_of(Candidate(1, 0.5, 4e6), Candidate(2, 0.4, 3e6))
    report = dataclasses.replace(BARE, search_metric="macs", search_unit="MACs", searches=(search,))
    assert "macs, million MACs" in render(report)


def test_the_search_is_drawn_near_its_budget() -> None:
    (search,) = sample_report().searches
    budget = search.budget("latency")
    assert budget is not None
    reach = near(search, budget.limit)
    assert reach == pytest.approx(2 * budget.limit)
    below = [c for c in search.candidates if c.predicted <= budget.limit]
    assert below
    assert budget.limit - min(c.predicted for c in below) < reach - budget.limit
    assert near(search, None) == max(c.predicted for c in search.candidates)


def test_both_times_of_the_found_network_are_named_and_explained(page: str) -> None:
    text = re.sub(r"\s+", " ", unescape(page))
    assert (
        "by itself, twice, as soon as the search had settled on it: 0.393 ms and 0.396 ms" in text
    )
    assert "Its latency above, 0.394 ms, is of the trained network, timed again with" in text
    silent = dataclasses.replace(search_of(), found_alone_ms=(0.5, 0.51))
    page = render(dataclasses.replace(BARE, searches=(silent,)))
    assert "Nothing was measured during the search" in page


def test_one_probe_without_a_guard_can_be_drawn() -> None:
    search = search_of(probes=(Probe(0, 1.0, 1.4, kept=True, guard=0.0),))
    report = dataclasses.replace(BARE, searches=(search,))
    assert "-29 %" in render(report), "an error beyond the axis is written out"


@pytest.mark.parametrize(
    ("ms", "text"), [(0.0348, "34.8 µs"), (0.394, "0.394 ms"), (3.21, "3.21 ms"), (321, "321 ms")]
)
def test_milliseconds_keep_three_digits(ms: float, text: str) -> None:
    assert milliseconds(ms) == text


@pytest.mark.parametrize(
    ("ms", "texts"),
    [
        ((0.0717, 0.1437), ["71.7 µs", "144 µs"]),
        ((0.394, 3.2), ["0.394 ms", "3.20 ms"]),
        ((0.000767, 0.0999996), ["0.767 µs", "100 µs"]),
        ((0.02, 30.0), ["0.0200 ms", "30.0 ms"]),
        ((), []),
    ],
)
def test_latencies_beside_each_other_share_a_unit(ms: tuple[float, ...], texts: list[str]) -> None:
    unit = LatencyUnit.of(ms)
    assert [unit.text(value) for value in ms] == texts


def test_runs_stand_side_by_side() -> None:
    page = outcome(REFERENCE, FOUND, SCALED, this=THIS_RUN, beside=(BESIDE,))
    assert ">run masked<" in page  # in the picture's legend
    assert "Crosses: what other runs found" in page
    rows = re.findall(
        r"<tr[^>]*>\s*<th scope=\"row\">(?:sample|masked): .*?</th>.*?</tr>", page, re.DOTALL
    )
    own, other = (re.sub(r"<[^>]+>|\s+", " ", row) for row in rows)
    assert "supernet, mcd" in own
    assert "49.0 %" in own
    assert "1.02 (" in other  # 0.49 / 0.48
    assert f"{MINUS}0.6 {PLUS_MINUS}" in other
    assert "23 min" in other


@pytest.mark.parametrize(
    ("value", "text"), [(812, "812"), (48_210, "48.2 k"), (3.41e6, "3.41 M"), (2e9, "2 G")]
)
def test_quantities_are_readable(value: float, text: str) -> None:
    assert quantity(value) == text


@needs_browser
def test_a_browser_shows_every_picture_without_complaint(tmp_path: Path) -> None:
    report = dataclasses.replace(
        sample_report(), published=PUBLISHED, this=THIS_RUN, beside=(BESIDE,)
    )
    check_shown(render(report), len(PICTURES), tmp_path)
