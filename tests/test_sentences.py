"""Sentence ends: named cases, a plain-Python twin of the kernel, losslessness, and the gold splits where they are."""

import json
import os
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glmdata.text import sentence_rules as rules
from glmdata.text.sentences import sentence_ends, split_sentences

DATA = Path(os.environ.get("GLMDATA_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

# The pieces wanted, parted by "|".
CASES = {
    "decimals": "Pi is 3.14 and e is 2.718. |Both are irrational.",
    "versions and files": "Install version 2.0.1, edit config.yaml and run setup.py. |Then restart.",
    "addresses": "Write to a.b@example.co.uk or see https://example.com/a.b?c=d. |Thanks.",
    "titles": "Dr. Smith met Mr. Jones and Mrs. Brown. |They talked.",
    "latin forms": "Use a tool, e.g. a hammer, i.e. Something heavy. |It works, cf. Knuth.",
    "figure": "It works (see Fig. 3 and No. 5). |No. |It does not.",
    "initials": "J. R. R. Tolkien wrote it. |I read it.",
    "country": "The U.S. Senate met in the U.S. |The vote failed.",
    "company": "Acme Inc. Chairman Bob spoke for Acme Inc. |He was brief.",
    "clock": "Come at 5 p.m. on Friday. |Bring 5.5 kg of rice.",
    "street and saint": "St. Paul lived on Main St. |He moved.",
    "identifier begins": "It blocks the caller. |errno is set.",
    "unknown abbreviation": "The mfgr. said so. |Fine.",
    "run": "What?! |No way!! |Fine. . . |Good ! ! |Bye.",
    "quotation runs on": "“Go!” he said. |“Stop.” |She left.",
    "quoted statement": 'He said "No." |Then he left. |"Well." she added.',
    "bracket": "(It was late.) |We slept.",
    "ellipsis": "Well... maybe. |I see... |Then go…… |好……吧。",
    "emoticon": "I like it. :)\n\n|Do you?",
    "markdown": "**Note.** |Read *this.* |Now.",
    "list": "Steps:\n|1. Open the file.\n|2. Close it.\n|- One\n|- Two\n|(3) Three",
    "numbered headings": "# Title\n|## 2.1. Background\n|Some text\ncontinues here.",
    "hard wrap": "A line that goes\non, as Mr.\nSmith said.\n|Next one.",
    "paragraphs": "A heading\n\n|The text. |More.\r\n\r\n|Last\u2029|End",
    "zh": "今天天气很好。|我们去公园！|你去吗？|一是学习；二是工作：就这样。",
    "zh quotes": "他说：“今天很冷。”|她問：「你來了嗎？」|我听见‘救命！’”|走。",
    "zh quote, comma": "“你好。”，他说。|走了",
    "zh title": "我读过《你好吗？》这本书。|很好看。",
    "zh bracket": "他来了（昨天下午）。|（完。）|好",
    "zh ASCII": "你好吗?|我很好!|他走了.|再见。",
    "zh mixed": "用Python 3.11版本，Node.js很快。|It works well. |真好！",
    "zh list": "一、准备材料\n|二、开始制作\n|（三）完成\n|4、收工",
    "zh run": "真的吗？！|太好了！！！|等……|",
    "zh ideographic space": "　第一句。　|第二句。",
}


@pytest.mark.parametrize("marked", CASES.values(), ids=CASES.keys())
def test_named_case(marked: str) -> None:
    assert split_sentences(marked.replace("|", "")) == [piece for piece in marked.split("|") if piece]


def test_other_languages_do_not_use_english_abbreviations() -> None:
    assert split_sentences("Gott sah die No. Dann.", "de") == ["Gott sah die No. ", "Dann."]
    assert split_sentences("The Co. Dann.", "de") == ["The Co. ", "Dann."]
    assert split_sentences("The Co. Dann.", "en-GB") == ["The Co. Dann."]


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "。", ".", "\x00", "“", "…", "\r", "\u3000", "\ud800。", "a\ud800. B"]
)
def test_odd_texts_are_whole(text: str) -> None:
    assert "".join(split_sentences(text)) == text
    assert len(split_sentences(text)) == (2 if text.endswith("B") else 1 if text else 0)


# --- the twin --------------------------------------------------------------------------------------------------------

RUN = re.compile(r"[.?!。！？｡…](?:[.?!。！？｡…]| +[.?!](?![A-Za-z0-9]))*")
SPACE = re.compile(r"[ \t\n\r\x0b\x0c\xa0\u202f\u3000\u2000-\u200a\u2028\u2029]*")
CLOSERS = re.compile(f"[{re.escape(rules.CLOSERS)}]*")
OPENERS = re.compile(f"[{re.escape(rules.OPENERS)}]*")
HEAD = re.compile(r"[ #*\-+>•·●⁃]*")
ITEM = re.compile(
    r"[#•·●]|[-*+] |[(（](\d{1,9}|[一二三四五六七八九十]{1,3})[)）]|(\d{1,9}|[一二三四五六七八九十]{1,3})(、|[.)] )"
)
STOP = re.compile(r"[\n\r\u2028\u2029.?!。！？｡…]")
NEVER, NOT_BEFORE_NUMBER, MAY, STARTERS = (
    set(table.split()) for table in (rules.NEVER_END, rules.NOT_BEFORE_NUMBER, rules.MAY_END, rules.SENTENCE_STARTERS)
)


def end_of(pattern: re.Pattern[str], text: str, i: int) -> int:
    match = pattern.match(text, i)
    assert match
    return match.end()


def breaks_in(space: str) -> int:
    return len(re.findall(r"\r\n|[\n\r\u2028\u2029]", space)) + space.count("\u2029")


def period_ends(text: str, i: int, head: int, after: str) -> bool:
    word = re.search(r"[A-Za-z0-9.]{0,24}\Z", text[max(head, i - 24, 0) : i])
    token = word.group().lower() if word else ""
    begins = i - len(token) == head
    following = re.match(r"[A-Za-z]*", after)
    lower = re.match(r"[a-zß-ÿ]", after) is not None
    number = r"\d{1,3}|[\d.]*\.[\d.]*|[a-z]|\.*[a-z]\.*"
    if begins and token and re.fullmatch(number, token) and token.count(".") < 4:
        return False
    if not token or re.search(r"\d", token):
        return not lower
    known = {kind for kind, words in enumerate((NEVER, NOT_BEFORE_NUMBER, MAY, STARTERS)) if token in words}
    if 0 in known or (1 in known and re.match(r"[0-9]", after)):
        return False
    letters, dots = len(token.replace(".", "")), token.count(".")
    if lower:
        return not dots and re.search("[aeiouy]", token) is not None and (known == {3} or (not known and letters > 2))
    if 2 in known or (len(token) == 1 and text[i - 1].isupper()) or (dots and letters <= 2 * dots + 1):
        return after[:1] >= "\u2e80" or (following is not None and following.group().lower() in STARTERS)
    return True


def mark_ends(text: str, i: int, head: int) -> tuple[bool, int]:
    behind = end_of(RUN, text, i)
    run, closed = text[i:behind], text[behind : end_of(CLOSERS, text, behind)]
    behind += len(closed)
    space = end_of(SPACE, text, behind)
    breaks, direct, spaced = breaks_in(text[behind:space]), text[behind : behind + 1], space > behind
    after = text[end_of(OPENERS, text, space) :]
    comma, before_cjk = direct in tuple(",;:，；：、"), direct >= "\u2e80" and direct not in "，；：、"
    if space == len(text) or breaks > 1 or (breaks == 1 and ITEM.match(text, space)):
        over = True
    elif re.search("[。！？｡]", run):
        over = not re.search("[》〉]", closed) and not comma
    elif spaced and (after[:1] in tuple(",;:，；：、") or (closed and re.match("[a-z]", after))):
        over = False
    elif re.search("[?!]", run):
        over = spaced or before_cjk
    elif "…" in run or run.count(".") > 1:
        loose = spaced and not re.match("[a-z]", after)
        over = loose or (run.count(".") > 2 and "A" <= direct <= "Z") or (closed != "" and before_cjk)
    elif spaced:
        over = period_ends(text, i, head, after)
    else:
        over = before_cjk and i > head and text[i - 1] > "\x7f"
    return over, space if over else behind


def twin(text: str) -> list[str]:
    pieces, begin = [], 0
    i = line = end_of(SPACE, text, 0)
    head = end_of(HEAD, text, i)
    while stop := STOP.search(text, i):
        i, broken = stop.start(), False
        if RUN.match(text, i):
            over, behind = mark_ends(text, i, head)
            broken = over and breaks_in(text[i:behind]) > 0
        else:
            behind, broken = end_of(SPACE, text, i), True
            over = breaks_in(text[i:behind]) > 1 or text[line] == "#" or ITEM.match(text, behind) is not None
        i = behind
        line = i if broken else line
        if over:
            pieces.append(text[begin:i])
            begin, head = i, end_of(HEAD, text, i)
    return [*pieces, text[begin:]] if begin < len(text) else pieces


FRAGMENTS = st.sampled_from(
    [
        *"。！？…；：，.?!;:,\"')]}*_#-+>”’」』】》〉（“「(• \n\r\t　\u2028\u2029一、1aAIé中の",
        *(
            "...",
            "……",
            "\r\n",
            "\n\n",
            " the ",
            "The ",
            " Mr",
            "e.g",
            " etc",
            "U.S",
            "p.m",
            " No",
            "Fig",
            "Inc",
            " 3.14",
        ),
        *(
            "\n1. ",
            "\n- ",
            "\n# ",
            "（二）",
            "(3)",
            "word",
            "Word ",
            " mfgr",
            "it",
            "J. K",
            "2.1",
            ":)",
            "example.com/a?b",
            "\u2009",
            "😀",
        ),
    ]
)


@given(st.lists(FRAGMENTS, max_size=25).map("".join))
def test_the_kernel_equals_its_plain_twin(text: str) -> None:
    assert split_sentences(text) == twin(text)


@given(st.text(st.characters(), max_size=50))
def test_any_text_is_cut_without_loss_into_pieces_that_are_not_empty(text: str) -> None:
    pieces = split_sentences(text)

    assert "".join(pieces) == text
    assert all(pieces)


@given(st.lists(st.lists(FRAGMENTS, max_size=8).map("".join), max_size=6), st.integers(0, 3))
def test_arrow_ends_are_those_of_single_texts(texts: list[str], skip: int) -> None:
    """Also in a slice of a larger array, and after nulls."""
    array = pa.array([*["Skipped. Text."] * skip, *texts, None], pa.string()).slice(skip)

    ends, offsets = sentence_ends(array)

    expected = [np.cumsum([len(p.encode()) for p in split_sentences(t)]).tolist() for t in texts]
    assert [ends[a:b].tolist() for a, b in pairwise(offsets)] == [*expected, []]
    assert (ends.dtype, offsets.dtype) == (np.int32, np.int64)


def test_an_empty_array_and_large_strings_are_taken() -> None:
    ends, offsets = sentence_ends(pa.array([], pa.string()))
    large, _ = sentence_ends(pa.array(["好。A b. C"], pa.large_string()))

    assert (ends.tolist(), offsets.tolist()) == ([], [0])
    assert large.tolist() == [6, 11, 12]


def test_tables_are_sound() -> None:
    for table in (rules.NEVER_END, rules.NOT_BEFORE_NUMBER, rules.MAY_END, rules.SENTENCE_STARTERS):
        words = table.split()
        assert all(re.fullmatch(r"[a-z.]{1,8}", word) and not word.endswith(".") for word in words)
        assert len(words) == len(set(words))
    assert set(rules.TITLE_CLOSERS) <= set(rules.CLOSERS)


@pytest.mark.parametrize(("language", "floor"), [("en", 0.90), ("zh", 0.99)])
def test_boundaries_agree_with_the_gold_splits(language: str, floor: float) -> None:
    """F1 over boundaries, counted in characters that are not white space; the end of a text does not count."""
    path = DATA / "sentences" / f"{language}.jsonl"
    if not path.exists():
        pytest.skip(f"no gold sentences at {path}")

    def bounds(pieces: list[str]) -> set[int]:
        return set(np.cumsum([len(re.sub(r"\s", "", piece)) for piece in pieces])[:-1].tolist())

    hit = total = 0
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            gold, found = bounds(row["sentences"]), bounds(split_sentences(row["text"]))
            hit, total = hit + len(gold & found), total + len(gold) + len(found)

    assert 2 * hit / total >= floor
