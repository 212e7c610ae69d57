"""Draw docs/demo.svg: the terminal after `make demo`, from the commands' real output.

    python docs/picture.py

rich's own SVG export squeezes Chinese, whose characters are two cells wide; here each character has its own place.
"""

import io
import os
import subprocess
import sys
from html import escape
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, SAMPLE, LINES = 124, 1, 38
WIDTH, HEIGHT, SIZE, MARGIN = 8.4, 19.0, 14, 14.0
FONTS = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', 'PingFang SC', monospace"
GROUND, INK = "#1d1f21", "#d8d8d8"


def main() -> None:
    """Run the commands, draw, write."""
    console = Console(width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    lines: list[list[Segment]] = []
    for command in ("inspect demo", f"inspect demo --sample {SAMPLE}"):
        output = run(command.split())
        shown = [Text(f"$ glmdata {command}", style="bold"), *map(Text.from_ansi, output[:LINES])]
        shown += [Text("…" if len(output) > LINES else "")]
        for text in shown:
            lines += console.render_lines(text, pad=False)
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(lines) * HEIGHT + 2 * MARGIN
    body = "\n".join(draw(line, MARGIN + number * HEIGHT) for number, line in enumerate(lines))
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'font-family="{FONTS}" font-size="{SIZE}" fill="{INK}">\n'
        f'<rect width="100%" height="100%" rx="8" fill="{GROUND}"/>\n{body}\n</svg>\n'
    )
    (ROOT / "docs" / "demo.svg").write_text(picture, "utf-8")


def draw(line: list[Segment], top: float) -> str:
    """One line of the terminal: grounds first, then characters, each at its cell."""
    grounds, texts, cell = [], [], 0
    for text, style, _ in line:
        ink, ground = INK, None
        if style is not None:
            ink = style.color.get_truecolor(DIMMED_MONOKAI).hex if style.color else INK
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
    glmdata = str(Path(sys.executable).parent / "glmdata")
    done = subprocess.run([glmdata, *arguments], capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    return done.stdout.rstrip().split("\n")


if __name__ == "__main__":
    main()
