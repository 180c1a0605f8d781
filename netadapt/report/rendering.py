"""What all pages share: their shell, their styles, and pictures in every layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from netadapt.report.figures.canvas import LAYOUTS, Layout

if TYPE_CHECKING:
    from markupsafe import Markup

Draw = Callable[[Layout], str]


def rendered(
    template: str,
    title: str,
    pictures: Mapping[str, Draw],
    filters: Mapping[str, Callable[..., object]],
    **values: Any,
) -> str:
    """The HTML of a page.

    Parameters
    ----------
    template: its file in this package; it extends `shell.html.jinja`.
    pictures: by name, what draws them.
    filters, values: what the template uses beside `title` and `pictures`.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def source(name: str) -> str:
        return (files("netadapt.report") / name).read_text("utf-8")

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(source),
    )
    environment.filters |= filters
    return environment.get_template(template).render(
        title=title,
        style=Markup(source("page.css")),
        pictures={name: _drawn(draw) for name, draw in pictures.items()},
        **values,
    )


def _drawn(draw: Draw) -> Markup:
    """A picture in every layout; the page shows one of them."""
    from markupsafe import Markup

    # Every text in it has been escaped where it was drawn.
    return Markup("\n".join(draw(layout) for layout in LAYOUTS))
