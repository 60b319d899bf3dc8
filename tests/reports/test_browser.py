"""The report in a real browser: no console message, every plot drawn, no sideways scrolling, light and dark."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ghostedge.explain import Explanation
from ghostedge.reports.explanation import explanation_html
from ghostedge.reports.latency import latency_html
from ghostedge.reports.parity import ParityReport
from ghostedge.reports.parity_page import parity_html
from tests.chromium import CHROMIUM, FLAGS
from tests.reports.test_page import explanation

__all__ = ["explanation"]  # the fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="left out: Chromium is not installed")

DARK = "--blink-settings=preferredColorScheme=0"

#: Puts the page into frames of two widths and measures it there, since a window cannot be as narrow as a phone.
PROBE = """<!DOCTYPE html><body><script>
const widths = [375, 1200], found = {};
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `border:0;height:900px;width:${width}px`;
  frame.srcdoc = SOURCE;
  frame.onload = () => {
    const page = frame.contentDocument, view = frame.contentWindow;
    const closed = page.querySelectorAll("details:not([open])").length;
    page.querySelectorAll("details").forEach(each => each.open = true);
    const visible = svg => view.getComputedStyle(svg.parentNode).display !== "none";
    const shown = [...page.querySelectorAll("svg")].filter(visible);
    found[width] = {
      closed,
      plots: shown.map(svg => {
        const box = svg.getBoundingClientRect();
        const marks = [...svg.querySelectorAll("circle, rect, polyline, polygon")];
        const drawn = marks.filter(mark => { const b = mark.getBoundingClientRect(); return b.width * b.height > 0; });
        return [box.width, box.height, marks.length - drawn.length, marks.length];
      }),
      scrollWidth: page.documentElement.scrollWidth,
      background: view.getComputedStyle(page.body).backgroundColor,
      smallest: Math.min(...shown.map(svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)),
    };
    if (Object.keys(found).length === widths.length) document.body.textContent = JSON.stringify(found);
  };
  document.body.append(frame);
}
</script></body>"""


def chromium(tmp_path: Path, document: str, *flags: str) -> tuple[str, list[str]]:
    """Open `document` from a file. Returns: what Chromium prints, and the console's messages."""
    file = tmp_path / "page.html"
    file.write_text(document, encoding="utf-8")
    profile = tmp_path / "profile"
    command = [str(CHROMIUM), *FLAGS, "--enable-logging=stderr", f"--user-data-dir={profile}", *flags, file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def measure(tmp_path: Path, document: str, *flags: str) -> dict[str, Any]:
    source = json.dumps(document).replace("</", "<\\/")
    printed, messages = chromium(tmp_path, PROBE.replace("SOURCE", source), "--dump-dom", *flags)
    assert messages == []
    body = re.search(r"<body>(\{.*\})</body>", printed, re.DOTALL)
    assert body, printed[-500:]
    result: dict[str, Any] = json.loads(html.unescape(body[1]))
    return result


@pytest.fixture(scope="module")
def document(report: ParityReport) -> str:
    return parity_html(report, [f"animal {i}" for i in range(20)], {})


def test_the_page_opens_from_a_file_without_a_message(document: str, tmp_path: Path) -> None:
    screenshot = tmp_path / "parity.png"
    _, messages = chromium(tmp_path, document, "--window-size=1200,2400", f"--screenshot={screenshot}")
    assert messages == []
    with Image.open(screenshot) as picture:
        assert picture.size == (1200, 2400)
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 100, "the screenshot is blank"


def test_every_plot_is_drawn_at_desk_and_phone_width(document: str, tmp_path: Path) -> None:
    found = measure(tmp_path, document)
    for width in ("375", "1200"):
        plots = found[width]["plots"]
        # Intervals and waterfall, then reliability and confidence for the three artifacts that have flips.
        assert len(plots) == 2 + 3 + 3
        assert found[width]["closed"] == 1 + 4 + 5  # one without a flip, numbers of each artifact, five ledgers
        assert all(w > 100 and h > 100 and missing == 0 and marks > 1 for w, h, missing, marks in plots)
        assert found[width]["scrollWidth"] <= int(width), "the page scrolls sideways"
        assert found[width]["smallest"] > 0.9, "text in a plot is shrunk"


@pytest.mark.parametrize("page", ["explanation", "latency"])
def test_the_other_pages_fit_a_desk_and_a_phone(page: str, explanation: Explanation, tmp_path: Path) -> None:
    record = json.loads((Path(__file__).parents[1] / "data" / "latency_record.json").read_text())
    layer = dataclasses.replace(explanation.layers[0], place="blocks.15.ghost2.primary_conv")
    long = dataclasses.replace(explanation, layers=(layer, *explanation.layers[1:]))
    text = explanation_html(long) if page == "explanation" else latency_html([("ssh:pi@raspberrypi", record)])
    assert "…" not in text, "something is cut out"
    found = measure(tmp_path, text)
    for width in ("375", "1200"):
        assert found[width]["scrollWidth"] <= int(width), "the page scrolls sideways"
        assert found[width]["smallest"] > 0.9, "text in a plot is shrunk"
        assert all(missing == 0 and marks > 0 for _, _, missing, marks in found[width]["plots"])


#: Clicks a column twice and filters, in a frame; says what is shown.
BEHAVE = """<!DOCTYPE html><body><script>
const frame = document.createElement("iframe"), found = {};
frame.style.cssText = "border:0;height:900px;width:1200px";
frame.srcdoc = SOURCE;
frame.onload = () => {
  const page = frame.contentDocument, table = page.querySelector("table.sortable");
  const names = () => [...table.tBodies[0].rows].filter(row => !row.hidden).map(row => row.cells[0].textContent.trim());
  found.asWritten = names();
  const button = table.tHead.rows[0].cells[COLUMN].querySelector("button");
  button.click();
  found.ascending = names();
  button.click();
  found.descending = names();
  const box = page.querySelector("input[type=search]");
  box.value = "int8 FAIL";
  box.dispatchEvent(new Event("input"));
  found.filtered = names();
  found.artifacts = [...page.querySelectorAll("details.artifact:not([hidden]) h3")].map(each => each.textContent);
  document.body.textContent = JSON.stringify(found);
};
document.body.append(frame);
</script></body>"""


def test_a_click_sorts_and_words_filter(document: str, tmp_path: Path) -> None:
    source = json.dumps(document).replace("</", "<\\/")
    probe = BEHAVE.replace("SOURCE", source).replace("COLUMN", "4")
    printed, messages = chromium(tmp_path, probe, "--dump-dom")
    assert messages == []
    body = re.search(r"<body>(\{.*\})</body>", printed, re.DOTALL)
    assert body, printed[-500:]
    found = json.loads(html.unescape(body[1]))
    assert found["asWritten"] == ["m.ckpt", "fp32.tflite", "dynamic.tflite", "int8.tflite", "ruined.tflite"]
    # By the drop; the reference has none and stays last.
    assert found["ascending"] == [*found["asWritten"][1:], "m.ckpt"]
    assert found["descending"] == [*found["asWritten"][:0:-1], "m.ckpt"]
    assert found["filtered"] == found["artifacts"] == ["int8.tflite"]


def test_a_script_that_is_not_the_pages_own_does_not_run(document: str, tmp_path: Path) -> None:
    planted = document.replace("<main>", "<main><script>document.title = 'planted'</script>")
    printed, messages = chromium(tmp_path, planted, "--dump-dom")
    assert "<title>planted" not in printed
    assert any("Content Security Policy" in message for message in messages)


def test_dark_is_dark(document: str, tmp_path: Path) -> None:
    light, dark = (measure(tmp_path, document, *flags)["1200"]["background"] for flags in ((), (DARK,)))
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (light, dark)]
    assert brightness[0] > 3 * 230
    assert brightness[1] < 3 * 40


def test_pictures_for_the_readme(document: str, tmp_path: Path) -> None:
    """The script as it is run by hand: the top of the report, and one section."""
    (tmp_path / "parity.html").write_text(document, encoding="utf-8")
    script = Path(__file__).with_name("screenshot.py")
    pictures = []
    for more in ([], ["--section", "attribution"]):
        arguments = [str(tmp_path / "parity.html"), str(tmp_path / "parity.png"), "--height", "500", *more]
        subprocess.run([sys.executable, str(script), *arguments], check=True, timeout=120, capture_output=True)
        with Image.open(tmp_path / "parity.png") as picture:
            assert picture.size == (2 * 980, 2 * 500)
            pictures.append(np.asarray(picture.convert("L")).astype(int))
    assert all((pixels < 80).mean() > 0.005 for pixels in pictures), "a picture is blank"
    assert (np.abs(pictures[0] - pictures[1]) > 50).mean() > 0.02, "the section's picture shows the top"


def test_a_picture_of_a_section_that_is_not_there_names_those_that_are(document: str, tmp_path: Path) -> None:
    (tmp_path / "parity.html").write_text(document, encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("screenshot.py")), str(tmp_path / "parity.html")]
    done = subprocess.run([*command, str(tmp_path / "x.png"), "--section", "waterfall"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "has no section 'waterfall'; it has ship, attribution, each, artifact-0" in done.stderr


def test_the_checks_see_a_console_message_and_a_plot_that_is_not_drawn(document: str, tmp_path: Path) -> None:
    empty = '<div><svg viewBox="0 0 200 200"><rect width="0" height="5"></rect></svg></div>'
    wide = '<div style="width: 3000px">xxxxxxxxxx</div>'
    found = measure(tmp_path, document.replace("<main>", f"<main>{empty}{wide}"))["1200"]
    assert found["scrollWidth"] > 1200
    assert found["plots"][0][2] == 1
    blocked = '<img src="https://example.invalid/x.png" alt="">'
    _, messages = chromium(tmp_path, document.replace("<main>", f"<main>{blocked}"), "--dump-dom")
    assert any("Content Security Policy" in message for message in messages)
