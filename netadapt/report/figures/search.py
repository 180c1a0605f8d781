"""Pictures of a search: what it scored on its way to the budget, and how it predicted."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import FuncFormatter, MaxNLocator

from netadapt.report.figures.canvas import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    RED,
    SMALL,
    Layout,
    around,
    canvas,
    legend_above,
    number_axis,
    words,
)
from netadapt.report.records import Probe, RunReport, SearchReport
from netadapt.text import LatencyUnit, quantity, three_digits

NEAR = 2.0
"""The left panel goes up to this many budgets."""


def search_path(report: RunReport, search: SearchReport, layout: Layout) -> str:
    """Scores near the budget, and beside them the whole way there, iteration by iteration."""
    budget = search.budget(report.search_metric)
    limit = None if budget is None else budget.limit
    percent = report.score_is_share and report.searched_by == report.score_name
    scale = 100.0 if percent else 1.0
    unit, per = _unit(report, search)
    reach = near(search, limit)
    shown = [c for c in search.candidates if c.predicted <= reach]
    with canvas(
        f"search-{search.name}",
        layout,
        title=f"Score against {words(report.search_metric)} of the candidates near the budget, "
        f"and the {words(report.search_metric)} of each iteration",
        description=_described(report, search),
        height_in=4.4 if layout.columns > 1 else 3.7,
        panels=2,
        widths=(3, 2),
    ) as made:
        left, right = made.panels
        dots = [(c.predicted * per, c.score * scale) for c in shown]
        left.plot(*_columns(dots), ".", color=GREY, alpha=0.5, ms=5, label="candidate, predicted")
        kept = [s for s in search.path if s.predicted <= reach]
        line = [(s.predicted * per, s.score * scale) for s in kept]
        left.plot(*_columns(line), "-o", color=BLUE, ms=5.5, lw=1.6, label="kept, predicted")
        timed = [(s.measured * per, s.score * scale) for s in kept if s.measured is not None]
        if timed:
            left.plot(*_columns(timed), "x", color=ORANGE, ms=7, mew=1.8, label="kept, measured")
        xs = [x for x, _ in (*dots, *line, *timed)]
        if limit is not None:
            left.axvline(limit * per, color=RED, ls=(0, (5, 3)), lw=1.3, label="budget")
            xs.append(limit * per)
        left.set_xlim(*around(min(xs), max(xs)))
        number_axis(left, [])
        name = words(report.search_metric)
        left.set_xlabel(f"{name}, {unit}")
        left.set_ylabel(f"{report.searched_by}, validation images{', %' if percent else ''}")

        right.plot(
            *_columns([(c.iteration, c.predicted * per) for c in search.candidates]),
            ".",
            color=GREY,
            alpha=0.5,
            ms=4,
        )
        right.plot(
            *_columns([(s.iteration, s.predicted * per) for s in search.path]),
            "-o",
            color=BLUE,
            ms=4.5,
            lw=1.4,
        )
        if limit is not None:
            right.axhline(limit * per, color=RED, ls=(0, (5, 3)), lw=1.3)
        number_axis(right, [c.predicted * per for c in search.candidates], vertical=True)
        right.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        right.set_xlabel("iteration")
        right.set_ylabel(f"{name}, {unit}")
        legend_above(made)
    return made.markup


def near(search: SearchReport, limit: float | None) -> float:
    """Up to where the search's scores are drawn: some budgets, or all where none is known."""
    most = max(c.predicted for c in search.candidates)
    if limit is None:
        return most
    closest = min(c.predicted for c in search.candidates)
    return min(most, max(NEAR * limit, 1.2 * closest))


def loop_errors(search: SearchReport, layout: Layout) -> str:
    """Error of the prediction along the search, all measured candidates, the guard band behind."""
    probes = search.probes
    with canvas(
        f"loop-{search.name}",
        layout,
        title="Prediction error along the search",
        description=_loop_described(probes),
        height_in=3.3,
    ) as made:
        axes = made.axes
        guards = {p.iteration: 100 * p.guard for p in probes}
        if any(guards.values()):
            axes.fill_between(
                list(guards),
                [-guard for guard in guards.values()],
                list(guards.values()),
                color=INK,
                alpha=0.1,
                lw=0,
                label="guard band",
            )
        axes.axhline(0, color=INK, lw=0.8)
        for kept, colour, marker, label in (
            (False, ORANGE, "v", "measured beside it"),
            (True, BLUE, "o", "kept"),
        ):
            dots = [(p.iteration, 100 * p.error) for p in probes if p.kept == kept]
            if dots:
                line = "-" if kept else ""
                axes.plot(*_columns(dots), line + marker, color=colour, ms=5.5, lw=1.2, label=label)
        # The first network is predicted without any correction and may be far off.
        later = [abs(100 * p.error) for p in probes if p.iteration > 0]
        limit = 1.3 * max([*later, *(guards[i] for i in guards if i > 0), 2.0])
        first = next((100 * p.error for p in probes if p.iteration == 0), 0.0)
        if abs(first) > limit:
            axes.annotate(
                f"{first:+.0f} %",
                (0, limit if first > 0 else -limit),
                xytext=(-2, -12 if first > 0 else 5),
                textcoords="offset points",
                ha="right",
                fontsize=SMALL,
            )
            axes.set_xlim(left=-0.09 * max(p.iteration for p in probes) - 0.5)
        axes.set_ylim(-limit, limit)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g}" if v else "0"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda i, _: f"{i:.0f}" if i >= 0 else ""))
        axes.set_xlabel("iteration")
        axes.set_ylabel("error of the prediction, %")
        legend_above(made)
    return made.markup


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _unit(report: RunReport, search: SearchReport) -> tuple[str, float]:
    """The unit of the search's metric on the axes, and how many there are in the records' one."""
    if report.search_unit == "ms":
        unit = LatencyUnit.of(s.predicted for s in search.candidates)
        return unit.name, unit.per_ms
    most = max(c.predicted for c in search.candidates)
    for size, prefix in ((1e9, "billion "), (1e6, "million "), (1e3, "thousand ")):
        if most >= size:
            return f"{prefix}{report.search_unit}", 1 / size
    return report.search_unit, 1.0


def _described(report: RunReport, search: SearchReport) -> str:
    def text(value: float) -> str:
        if report.search_unit == "ms":
            return unit.text(value)
        return f"{quantity(value)} {report.search_unit}"

    unit = LatencyUnit.of(c.predicted for c in search.candidates)
    said = f"{len(search.candidates)} candidates were scored."
    if search.path:
        first, last = search.path[0], search.path[-1]
        said += (
            f" The network kept went from {text(first.predicted)} with a {report.searched_by} of "
            f"{three_digits(first.score)} to {text(last.predicted)} with {three_digits(last.score)}"
            f" in {len(search.path)} iterations."
        )
    budget = search.budget(report.search_metric)
    return said if budget is None else f"{said} The budget is {text(budget.limit)}."


def _loop_described(probes: Sequence[Probe]) -> str:
    last = max(p.iteration for p in probes)
    errors = ", ".join(
        f"{100 * p.error:+.1f} %" for p in probes if p.kept and p.iteration >= last - 4
    )
    return (
        f"{len(probes)} candidates were measured. The kept networks of the last iterations were "
        f"predicted off by {errors or 'an unknown share'}."
    )
