"""Render the top of a report as the README shows it: PNG of a README's width, by headless Chromium.

python tests/reports/screenshot.py parity.html parity.png
python tests/reports/screenshot.py parity.html parity_attribution.png --section attribution --height 700 --dark
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

#: CSS pixels: a README's column on a desktop.
WIDTH = 980

#: Screen pixels a CSS pixel, so that the text is sharp on a dense display.
SCALE = 2

#: Colours of the PNG: plots and text need few, and the file becomes a third of the size.
COLOURS = 128


def chromium() -> str:
    """The browser. Raises: SystemExit where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise SystemExit("Chromium is not installed; on Debian: apt-get install chromium")
    return found


def render(report: Path, png: Path, *, height: int, section: str | None = None, dark: bool = False) -> None:
    """Render `report` from its top, or from the heading with the id `section` on; `height` is in CSS pixels."""
    document = report.read_text(encoding="utf-8")
    if section is not None:
        if f'id="{section}"' not in document:
            ids = ", ".join(re.findall(r'<h[23][^>]* id="([^"]+)"', document))
            raise SystemExit(f"{report} has no section '{section}'; it has {ids}")
        # A screenshot is taken from the top of the page, whatever the address says: leave out what comes before.
        before = f"main > :not(:has(#{section})) {{ display: none }} main > section {{ margin: 0; border: 0 }}"
        document = document.replace("</head>", f"<style>{before}</style></head>")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(document, encoding="utf-8")
        command = [
            chromium(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
            f"--window-size={WIDTH},{height}",
            f"--force-device-scale-factor={SCALE}",
            f"--screenshot={folder}/page.png",
            *(["--blink-settings=preferredColorScheme=0"] if dark else []),
            page.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode or not Path(folder, "page.png").exists():
            raise SystemExit(f"Chromium made no picture: {done.stderr.strip().splitlines()[-1:]}")
        with Image.open(Path(folder) / "page.png") as picture:
            picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(png, optimize=True)


def main() -> None:
    """Parse and render."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="HTML report of ghostedge parity or benchmark")
    parser.add_argument("png", type=Path, help="picture to write")
    parser.add_argument("--height", type=int, default=900, help="CSS pixels (default: 900)")
    parser.add_argument("--section", metavar="ID", help="show this section instead of the top, e.g. attribution")
    parser.add_argument("--dark", action="store_true", help="the dark colours")
    args = parser.parse_args()
    render(args.report, args.png, height=args.height, section=args.section, dark=args.dark)
    print(f"{args.png}: {args.png.stat().st_size / 1e3:.0f} kB", file=sys.stderr)


if __name__ == "__main__":
    main()
