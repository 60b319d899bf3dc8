"""Render self-contained pages, and Markdown, from the templates."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostedge.errors import UsageError
from ghostedge.files import atomic_write
from ghostedge.reports.format import (
    drop_text,
    kl_text,
    p_text,
    points_text,
    sentence,
    severity_text,
    share_text,
    signed,
    snr_text,
)
from ghostedge.reports.svg import Markup

if TYPE_CHECKING:
    import jinja2


#: Templates of pages, and the style that they share.
TEMPLATES = Path(__file__).with_name("templates")


def render(name: str, **values: Any) -> str:
    """A whole document from the template ``NAME.j2``; a page has nothing to fetch, and runs no script but report.js.

    In HTML the line ends and the indentation that only set the template out are left out: a table has thousands.
    """
    text = environment().get_template(f"{name}.j2").render(values)
    if not name.endswith(".html"):
        return text
    page = re.sub(r"(?<=>)\n|\n(?=<)", "", re.sub(r"\n\s+", "\n", text))
    # The browser runs the script of this hash and no other, whatever a name may hold.
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return page.replace("'SCRIPT-HASH'", f"'sha256-{digest}'", 1)


@cache
def environment() -> jinja2.Environment:
    """Jinja, set up for the templates: it escapes every value in HTML, and raises where a name has no value."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is None or name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for text in (drop_text, kl_text, p_text, points_text, severity_text, share_text, signed, snr_text):
        made.filters[text.__name__.removesuffix("_text")] = text
    made.filters |= {"breakable": breakable, "plain": plain, "sentence": sentence}
    return made


def breakable(text: str) -> Markup:
    """A file name that may break after its separators and nowhere else."""
    return Markup(re.sub(r"(?<=[_.\-/])(?=\w)", "<wbr>", html.escape(text, quote=False)))


def plain(text: str) -> str:
    """Text that Markdown leaves as it is, also inside a table."""
    return " ".join(re.sub(r"[\\`*_<>\[\]|]", r"\\\g<0>", text).split())


def write_page(path: Path, page: str) -> None:
    """Write a page, whole or not at all. Raises: OutputError; UsageError, see `check_report_path`."""
    atomic_write(check_report_path(path), page)


def check_report_path(path: Path) -> Path:
    """`path` itself. Raises: UsageError where it does not end in ``.html``: a file written beside it could be it."""
    if path.suffix not in (".html", ".htm"):
        raise UsageError(f"--report {path} does not end in .html; a web page is written, so name it like one")
    return path
