"""Build self-contained HTML pages out of escaped elements."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from string import Template

from ghostedge.errors import UsageError

__all__ = ["Markup", "breakable", "check_report_path", "element", "figure", "join", "page", "table"]


class Markup(str):
    """Text that is HTML already; every other string is escaped where it enters an element."""

    __slots__ = ()


def join(parts: Iterable[str | None]) -> Markup:
    """One piece of HTML out of several; plain strings are escaped, None is left out."""
    return Markup(
        "".join(
            part if isinstance(part, Markup) else html.escape(part, quote=False) for part in parts if part is not None
        )
    )


def element(name: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """``<name attribute="...">children</name>``; void elements have no end tag.

    Args:
        name: of the HTML or SVG element.
        children: strings are escaped unless they are `Markup`; None is left out.
        attributes: ``class_`` becomes ``class``, ``text_anchor`` becomes ``text-anchor``; None is left out; numbers
            are written with at most two decimals.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in ("meta", "img", "br", "hr"):
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return html.escape(value)
    return f"{value:.2f}".rstrip("0").rstrip(".")


def breakable(text: str) -> Markup:
    """A file name that may break after its separators and nowhere else."""
    if isinstance(text, Markup):
        return text
    return Markup(re.sub(r"(?<=[_.\-/])(?=\w)", "<wbr>", html.escape(text, quote=False)))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, numeric: Iterable[int] = ()) -> Markup:
    """A table that scrolls sideways inside the page where it is wider than the screen.

    Args:
        header: column names.
        rows: cells; the first of a row is its heading.
        caption: what the table shows; stands above it, where it does not scroll away.
        numeric: columns that are set flush right.
    """
    right = set(numeric)

    def cell(name: str, index: int, content: str, scope: str | None) -> Markup:
        return element(
            name,
            breakable(content) if scope == "row" else content,
            class_="number" if index in right else None,
            scope=scope,
        )

    body = [
        element(
            "tr", *(cell("th" if i == 0 else "td", i, value, "row" if i == 0 else None) for i, value in enumerate(row))
        )
        for row in rows
    ]
    content = element(
        "table",
        element("thead", element("tr", *(cell("th", i, name, "col") for i, name in enumerate(header)))),
        element("tbody", *body),
    )
    scroll = element("div", content, class_="scroll", role="region", aria_label=caption, tabindex="0")
    return join([element("p", caption, class_="caption"), scroll])


def figure(drawing: Markup, caption: str) -> Markup:
    """A plot with its caption."""
    return element("figure", drawing, element("figcaption", caption))


def check_report_path(path: Path) -> Path:
    """`path` itself. Raises: UsageError where it does not end in ``.html``: a file beside it could replace it."""
    if path.suffix not in (".html", ".htm"):
        raise UsageError(f"--report {path} does not end in .html; the Markdown and the JSON are written beside it")
    return path


def page(title: str, body: Markup) -> str:
    """A whole document: `body` in the shared style, with nothing to fetch and no script.

    Args:
        title: of the window or the printed page.
        body: the content of ``<main>``.
    """
    template = Template(_template("report.html"))
    return template.substitute(title=html.escape(title), style=_template("report.css"), body=body)


def _template(name: str) -> str:
    return resources.files("ghostedge.reports").joinpath("templates", name).read_text(encoding="utf-8")
