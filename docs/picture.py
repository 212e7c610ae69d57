"""Make the README's pictures of the build that `make demo` leaves: docs/demo.svg and docs/stats.svg, the terminal,
from the commands' real output, and docs/report.png, report.html in headless Chromium where there is one.

    python docs/picture.py

rich's own SVG export squeezes Chinese, whose characters are two cells wide; here each character has its own place.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, SAMPLE, LINES, STATS_LINES = 124, 1, 48, 46
WINDOW = "1080,2270"
WIDTH, HEIGHT, SIZE, MARGIN = 8.4, 19.0, 14, 14.0
FONTS = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', 'PingFang SC', monospace"
GROUND, INK = "#1d1f21", "#d8d8d8"
THEME = TerminalTheme(
    (29, 31, 33),
    (216, 216, 216),
    [
        (40, 42, 46), (204, 102, 102), (138, 170, 90), (240, 198, 116),
        (95, 145, 190), (178, 148, 187), (90, 165, 180), (197, 200, 198),
    ],
    [
        (110, 114, 120), (240, 130, 120), (165, 214, 120), (250, 215, 125),
        (125, 175, 250), (230, 150, 215), (110, 210, 225), (255, 255, 255),
    ],
)  # fmt: skip
"""Black, red, green, yellow, blue, magenta, cyan, white; then the bright ones, on which dark text can be read."""


def main() -> None:
    """Run the commands, draw, write."""
    terminal("demo.svg", ["inspect demo", f"inspect demo --sample {SAMPLE}"], LINES)
    terminal("stats.svg", ["inspect demo --stats"], STATS_LINES)
    photograph()


def terminal(name: str, commands: list[str], limit: int) -> None:
    """Draw commands with the first lines of their output."""
    console = Console(width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    lines: list[list[Segment]] = []
    for command in commands:
        output = run(command.split())
        shown = [Text(f"$ glmdata {command}", style="bold"), *map(Text.from_ansi, output[:limit])]
        shown += [Text("…" if len(output) > limit else "")]
        for text in shown:
            lines += console.render_lines(text, pad=False)
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    body = "\n".join(draw(line, MARGIN + number * HEIGHT) for number, line in enumerate(lines))
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="{FONTS}" font-size="{SIZE}" fill="{INK}">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>\n{body}\n</svg>\n'
    )
    (ROOT / "docs" / name).write_text(picture, "utf-8")


def photograph() -> None:
    """The upper part of the demo's report.html."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        print("no Chromium here: docs/report.png stays as it is")
        return
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        options += [f"--user-data-dir={profile}", "--hide-scrollbars", f"--window-size={WINDOW}"]
        page, picture = ROOT / "demo" / "report.html", ROOT / "docs" / "report.png"
        command = [browser, *options, f"--screenshot={picture}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


def draw(line: list[Segment], top: float) -> str:
    """One line of the terminal: grounds first, then characters, each at its cell."""
    grounds, texts, cell = [], [], 0
    for text, style, _ in line:
        ink, ground = INK, None
        if style is not None:
            ink = style.color.get_truecolor(THEME).hex if style.color else INK
            ink, ground = (GROUND, ink) if style.reverse else (ink, None)
        size = cell_len(text)
        if ground:
            left, high = MARGIN + cell * WIDTH, HEIGHT - 1
            grounds.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{size * WIDTH:.1f}" height="{high}" fill="{ground}"/>'
            )
        places, at = [], cell
        for character in text:
            places.append(f"{MARGIN + at * WIDTH:.1f}")
            at += cell_len(character)
        if text.strip():
            weight = ' font-weight="bold"' if style is not None and style.bold else ""
            faint = ' opacity="0.55"' if style is not None and style.dim else ""
            spot = f'x="{" ".join(places)}" y="{top + 0.74 * HEIGHT:.1f}" fill="{ink}"{weight}{faint}'
            texts.append(f'<text xml:space="preserve" {spot}>{escape(text)}</text>')
        cell += size
    return "\n".join([*grounds, *texts])


def run(arguments: list[str]) -> list[str]:
    """Lines of a command's output, in colour."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "COLORTERM": "truecolor", "TERM": "xterm"}
    command = [sys.executable, "-m", "glmdata.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    return done.stdout.rstrip().split("\n")


if __name__ == "__main__":
    main()
