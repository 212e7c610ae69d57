"""How `glmdata why` looks: columns beside Chinese, colours or marks, and one line for what cannot be told."""

import re
from pathlib import Path

import pytest
from commands import glmdata
from rich.cells import cell_len
from stories import place, with_outcome

from glmdata.pipelines.build import Built


@pytest.mark.parametrize("columns", [80, 121, 200])
def test_columns_stand_straight_beside_chinese(built: Built, columns: int) -> None:
    gone = next(row for row in with_outcome(built.folder, "near_duplicate") if row["uri"] == "zh/a.jsonl")
    done = glmdata("why", built.folder, place(gone), COLUMNS=str(columns))
    lines = [line for line in done.stdout.splitlines() if " │" in line]
    assert len(lines) > 5
    assert {cell_len(line.partition(" │")[0]) for line in lines} == {(columns - 3) // 2}
    assert max(map(cell_len, lines)) <= columns


def test_a_narrow_terminal_has_one_column(built: Built) -> None:
    gone = next(row for row in with_outcome(built.folder, "near_duplicate") if row["uri"] == "zh/a.jsonl")
    done = glmdata("why", built.folder, place(gone), COLUMNS="50")
    assert "│" not in done.stdout
    assert re.search(r"\[-.-\]\{\+.\+\}", done.stdout)


def test_differences_are_coloured_or_marked(built: Built) -> None:
    gone = place(next(row for row in with_outcome(built.folder, "near_duplicate") if row["uri"] == "zh/a.jsonl"))
    pipe = glmdata("why", built.folder, gone).stdout
    assert "\x1b[" not in pipe
    assert "[-" in pipe
    coloured = glmdata("why", built.folder, gone, FORCE_COLOR="1").stdout
    assert "\x1b[1;31m" in coloured
    assert "[-" not in coloured.replace("\x1b[", "")
    assert "[-" in glmdata("why", built.folder, gone, FORCE_COLOR="1", NO_COLOR="1").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("{built}", "en/c.txt:60"), 1, "has 60 records, 0 to 59"),
        (("{built}", "ffffffffffff"), 1, "no document ffffffffffff"),
        (("{corpus}", "en/c.txt:0"), 1, "no finished build"),
        (("{built}", "en/c.txt"), 2, "URI:RECORD"),
        (("{built}",), 2, "Missing argument"),
        (("{built}", "en/c.txt:0", "--corpus", "odd://x/y"), 2, "odd://x/y: cannot be read"),
    ],
)
def test_what_cannot_be_told_is_one_line(
    built: Built, corpus: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = glmdata("why", *(argument.format(built=built.folder, corpus=corpus) for argument in arguments))
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
