"""Sentence ends: named cases, a plain-Python twin of the kernel, losslessness, and the gold splits where they are."""

import json
import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from corpora import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_twin import TABLES, twin

from glmdata.text import sentence_rules as rules
from glmdata.text.sentences import sentence_ends, split_sentences

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
    "zh speaker": "“借个火。”少的说。|“走吧！”老李喊道，“快！”|“好吗？”|她问道：“走？”|走了",
    "zh no speaker": "“好。”|他没说。|“好。”|我不知道。",
    "zh ellipsis": "因为…… Python 太慢……Java也慢。|他走了…… |Then he left. |要访问此命令...\n|Choose it.",
    "numbers in a line": "1. The first item |2. The second one |3. The third",
    "brackets in a line": "1) The first item. |2) The second in 2002) and |3) The third",
    "letters in a line": "a. The first item |b. The second |c. The third",
    "both marks in a line": "1.) The first item |2.) The second",
    "bullets in a line": "• 9. The first item |• 10. The second |● Third",
    "numbers of nothing": "In 1. |Add 2. |Then stop.",
    "roman numbers": "ii. Second. |World War II. |Then",
    "hard wrap before a year": "released until\n2009. |Then it ended in\n(2010) no item.",
    "names with a mark": "She works at Yahoo! in sales. |He loves Yahoo! |The end. |Wow! |such fun",
    "ordinal": "It is at N°. 1026 there. |Go.",
    "reference": "“Bohr [...] used stairways [...]” (Smith 55). |Next.",
    "careless": "Set it up. |i wish they did at McDonald's. |that is all.",
    "stamp": "Jolene Harvey |05/22/2001 09:25 AM |Can you pass this along?",
    "no stamp": "We met on 06/04/2001 05:54 PM and left. |And/or 1/2 or 3/4/5 of it.",
    "closing": "Let me know. |Best regards, |Al Arfsten 713 965|",
    "closing without a comma": "See you. |Many thanks |Elizabeth Fox\nEnron",
    "no closing": "Thanks, Jeff. |Best, Jeff said. |Thanks for all. |Love, Sex and Death.",
    "rule": "For more news |---------------------------- That was all.",
    "title between rules": "******NOTICE****** |This may be confidential.",
    "table": "a b\n------ ------\nc d ---- e",
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
            " 6/4/2001 05:54 PM ",
            "1/2/01 9:30",
            " ----- ",
            "*****",
            "Thanks, ",
            "Best regards",
            " Bob",
            " 2. ",
            "1.) ",
            "a. ",
            " b. ",
            " • ",
            "”他说",
            "N°",
            "Yahoo!",
            "he's",
            "up. i",
            " ii",
            "\u2009",
            "😀",
        ),
    ]
)


@settings(deadline=None)  # the first call may compile
@given(st.lists(FRAGMENTS, max_size=25).map("".join))
def test_the_kernel_equals_its_plain_twin(text: str) -> None:
    assert split_sentences(text) == twin(text)


@settings(deadline=None)
@given(st.text(st.characters(), max_size=50))
def test_any_text_is_cut_without_loss_into_pieces_that_are_not_empty(text: str) -> None:
    pieces = split_sentences(text)

    assert "".join(pieces) == text
    assert all(pieces)


@settings(deadline=None)
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
    for name, keys in TABLES.items():
        words = getattr(rules, name).split()
        assert all(re.fullmatch(r"[a-z.]+", word) and not word.endswith(".") for word in words)
        assert len(words) == len(keys)
    for abbreviations in (rules.NEVER_END, rules.NOT_BEFORE_NUMBER, rules.MAY_END, rules.SHORT_WORDS):
        assert max(map(len, abbreviations.split())) <= 8
    assert set(rules.TITLE_CLOSERS + rules.QUOTE_CLOSERS) <= set(rules.CLOSERS)
    assert set(rules.PAUSES) <= set(rules.COMMAS)


@pytest.mark.parametrize(("language", "floor"), [("en", 0.93), ("zh", 0.996)])
def test_boundaries_agree_with_the_gold_splits(language: str, floor: float) -> None:
    """F1 over boundaries, counted in characters that are not white space; the end of a text does not count."""
    path = SHARED / "sentences" / f"{language}.jsonl"
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
