"""The documentation site builds without a warning, loads nothing from elsewhere, and no page is far from the first."""

from __future__ import annotations

import json
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import ghostedge
from ghostedge.cli.main import COMMANDS
from ghostedge.latency.records import SCHEMA
from ghostedge.pipeline.recipe import recipes

ROOT = Path(__file__).parents[2]

MISSING = [name for name in ("mkdocs", "material", "mkdocstrings_handlers") if find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"left out: the extra 'docs' is not installed ({MISSING})")


class Page(HTMLParser):
    """What a built page links to and loads.

    Attributes:
        links: addresses in its text and in the tabs at its top, where they are seen without opening anything.
        loads: addresses that a browser fetches by itself.
        classes: of all elements.
        ids: of all elements.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.classes: set[str] = set()
        self.ids: set[str] = set()
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        classes = found.get("class", "").split()
        self.classes.update(classes)
        self.ids.add(found.get("id", ""))
        if tag == "article" or "md-tabs" in classes:
            self._inside.append(tag)
        if tag == "a" and self._inside:
            self.links.append(found.get("href", ""))
        if "src" in found:
            self.loads.append(found["src"])
        if tag == "link" and found.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(found.get("href", ""))
        self.loads += re.findall(r"url\(([^)]*)\)", found.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()


def foreign(page: Page) -> list[str]:
    """What a page fetches from another place than the site itself."""
    found = [address for address in page.loads if urlsplit(address).netloc or address.startswith("//")]
    # The theme's script fetches these from unpkg.com where a page has such a diagram.
    return found + sorted(page.classes & {"mermaid"})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site") / "site"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    # Not --quiet: it takes the warnings from --strict.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """Path in the site -> page; the one for addresses that do not exist left out."""
    found = {path.relative_to(site).as_posix(): path for path in sorted(site.rglob("*.html"))}
    return {name: Page(path.read_text(encoding="utf-8")) for name, path in found.items() if name != "404.html"}


def targets(name: str, page: Page, pages: dict[str, Page]) -> Iterator[str]:
    """The pages of the site that a page links to."""
    for link in page.links:
        parts = urlsplit(link)
        if not parts.scheme and not parts.netloc and parts.path:
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
            if target in pages:
                yield target


def test_every_page_is_two_clicks_away_at_most(pages: dict[str, Page]) -> None:
    clicks = {"index.html": 0}
    for distance in (1, 2):
        for name in [name for name, far in clicks.items() if far == distance - 1]:
            for target in targets(name, pages[name], pages):
                clicks.setdefault(target, distance)
    assert sorted(pages.keys() - clicks.keys()) == []
    assert len(pages) >= 40


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    assert {name: found for name, page in pages.items() if (found := foreign(page))} == {}
    for style in site.rglob("*.css"):
        addresses = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s]+)", style.read_text(encoding="utf-8"))
        assert [address for address in addresses if "//" in address and not address.startswith("data:")] == [], style


@pytest.mark.parametrize(
    "html",
    [
        '<link rel="stylesheet" href="https://fonts.googleapis.com/css?family=Roboto">',
        '<script src="//cdn.example.com/a.js"></script>',
        '<p><img src="http://example.com/badge.svg"></p>',
        '<pre class="mermaid"><code></code></pre>',
    ],
)
def test_what_is_fetched_from_elsewhere_is_seen(html: str) -> None:
    assert foreign(Page(html))


def test_every_link_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    dead = []
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (site / posixpath.dirname(name) / unquote(parts.path)) if parts.path else site / name
            there = target.resolve().relative_to(site.resolve()).as_posix() if target.exists() else None
            if there is None or (parts.fragment and there in pages and parts.fragment not in pages[there].ids):
                dead.append(f"{name}: {link}")
    assert dead == []


def test_what_the_code_has_is_there(site: Path, pages: dict[str, Page]) -> None:
    assert {f"commands/{name}.html" for name in COMMANDS} <= pages.keys()
    python = {name for page in ("functions", "types", "errors") for name in pages[f"python/{page}.html"].ids}
    for name in ghostedge.__all__:
        assert any(each.startswith("ghostedge.") and each.rpartition(".")[2] == name for each in python), name
    every = (site / "every-recipe.html").read_text(encoding="utf-8")
    assert [name for name in recipes() if f"<code>{name}</code>" not in every] == []
    latency = (site / "formats" / "latency-record.html").read_text(encoding="utf-8")
    assert "<code>throttle_flags</code>" in latency
    schema = json.loads((site / "formats" / "latency-record.schema.json").read_text(encoding="utf-8"))
    assert schema == json.loads(SCHEMA.read_text(encoding="utf-8"))


def test_a_page_that_no_test_runs_says_so(site: Path) -> None:
    page = (site / "android.html").read_text(encoding="utf-8")
    assert "Not run by the tests: needs a phone" in page
    assert "&lt;!-- not run" not in page
