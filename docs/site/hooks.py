"""What MkDocs does beside reading docs/: add pages that are generated or lie elsewhere, and lead links to them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

#: Pages of the site that lie beside what they are about.
ADOPTED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "android_demo/README.md": "android-demo.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/peers/README.md": "benchmarks/peers.md",
    "export/README.md": "recipes.md",
    "training/README.md": "training.md",
    **{
        path.relative_to(ROOT).as_posix(): f"benchmarks/{path.name}"
        for path in sorted((ROOT / "benchmarks" / "peers").glob("*.svg"))
    },
}

#: Section of the list of all pages -> the page that says what is in it.
OVERVIEWS = {"Tasks": "tasks.md", "Numbers": "numbers.md"}

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")
_FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"^( *)<!-- not run: (.+?) -->$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the list of pages with those that are generated, and leave out those that are not there yet."""
    there = {path.relative_to(config.docs_dir).as_posix() for path in Path(config.docs_dir).rglob("*.md")}
    config.nav = list(_filled(config.nav or [], there | set(ADOPTED.values()) | reference.pages().keys()))
    return config


def _filled(entries: list[Any], there: set[str]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        ((title, what),) = entry.items()
        if isinstance(what, list):
            yield {title: list(_filled(what, there))}
        elif what.endswith("/*"):
            yield {title: [page for page in reference.pages() if page.startswith(what[:-1]) and page.endswith(".md")]}
        elif what in there:
            yield entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated, and those that lie elsewhere."""
    for source, uri in ADOPTED.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    for uri, content in reference.pages().items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where a file is in the site, and show which commands no test runs."""
    adopted = {uri: source for source, uri in ADOPTED.items()}.get(page.file.src_uri)
    home = (ROOT / adopted if adopted else Path(config.docs_dir, page.file.src_uri)).parent
    uris = {(ROOT / source).resolve(): uri for source, uri in ADOPTED.items()}

    def lead(link: re.Match[str]) -> str:
        target = (home / link["path"]).resolve()
        target = target / "README.md" if target.is_dir() else target
        if target.is_relative_to(config.docs_dir):
            uri = target.relative_to(config.docs_dir).as_posix()
        elif target in uris:
            uri = uris[target]
        elif target.exists() and not link["image"]:  # a file of the sources: the reader has a clone, or has not
            path = f"`{target.relative_to(ROOT)}`"
            return path if link["text"].strip("`") in path else f"{link['text']} ({path})"
        else:
            return link[0]  # MkDocs checks it
        to = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".")
        return f"{link['image']}[{link['text']}]({to}{link['anchor'] or ''})"

    for section, overview in OVERVIEWS.items():
        if page.file.src_uri == overview:
            markdown = "".join([markdown, "\n", *_unlisted(markdown, config, section)])
    pieces, end = [], 0
    for block in _FENCED.finditer(markdown):
        pieces += [_LINK.sub(lead, markdown[end : block.start()]), block[0]]
        end = block.end()
    text = "".join([*pieces, _LINK.sub(lead, markdown[end:])])
    return _NOT_RUN.sub(r"\1Not run by the tests: \2.\n\1{ .not-run }\n", text)


def _unlisted(markdown: str, config: MkDocsConfig, section: str) -> Iterator[str]:
    """A line for each page of a section that its overview does not link to, with the first sentence of that page."""
    (entries,) = (entry[section] for entry in config.nav or [] if section in entry)
    for entry in entries:
        ((title, uri),) = entry.items()
        path = Path(config.docs_dir, uri)
        if uri != OVERVIEWS[section] and f"({uri})" not in markdown and path.exists():
            text = re.sub(r"^#.*$", "", _FENCED.sub("", path.read_text(encoding="utf-8")), flags=re.MULTILINE)
            sentence = re.search(r"^[A-Z`*].*?[.:](?=\s)", text, re.MULTILINE | re.DOTALL)
            yield f"- [{title}]({uri}): {' '.join(sentence[0].split()).rstrip('.:') if sentence else title}.\n"
