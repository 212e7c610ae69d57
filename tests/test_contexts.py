"""Contexts that fit: what is cut, in which order, and that nothing else is. One token a character here."""

import pytest
from characters import CODEC, SPECIAL, shown
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.corpus.examples import Example
from glmdata.errors import ConfigError
from glmdata.infilling.contexts import rows_of
from glmdata.recipe import FinetuneSettings


def rows(examples, length, **options):
    return rows_of(examples, CODEC, FinetuneSettings(**{"cls": False, **options}), length)


def talk(*turns, **more):
    return Example(turns=list(turns), **more)


def test_rounds_are_chatglms():
    found = rows([talk(("q0", "a0"), ("q1", "a1"), ("q2", "a2"))], 200, task="sft")
    assert [shown(row.context) for row in found] == [
        "q0G",
        "[Round 0]\n问：q0\n答：a0\n[Round 1]\n问：q1\n答：G",
        "[Round 0]\n问：q0\n答：a0\n[Round 1]\n问：q1\n答：a1\n[Round 2]\n问：q2\n答：G",
    ]
    assert [shown(row.answers[0]) for row in found] == ["a0", "a1", "a2"]
    assert [(row.mask_place, row.mask) for row in found] == [(len(row.context) - 1, 2) for row in found]


def test_the_last_response_alone_or_what_is_not_history():
    turns = (("q0", "a0"), ("q1", "a1"), ("q2", "a2"))
    assert [shown(row.answers[0]) for row in rows([talk(*turns)], 200, task="sft", responses="last")] == ["a2"]
    assert [shown(row.answers[0]) for row in rows([talk(*turns, first=1)], 200, task="sft")] == ["a1", "a2"]


def test_oldest_rounds_go_first_and_those_left_are_numbered_anew():
    turns = [(f"q{n}", f"a{n}") for n in range(6)]
    whole = rows([talk(*turns, system="S!")], 500, task="sft", responses="last")[0]
    for length in range(40, len(whole.context) + 4):
        [row] = rows([talk(*turns, system="S!")], length, task="sft", responses="last")
        kept = turns[row.history_cut :]
        rounds = "".join(f"[Round {n}]\n问：{q}\n答：{a}\n" for n, (q, a) in enumerate(kept[:-1]))
        end = f"[Round {len(kept) - 1}]\n问：q5\n答：" if len(kept) > 1 else "q5"
        assert shown(row.context) == f"S!\n{rounds}{end}G"
        assert len(row.context) + 1 + 2 <= length
        longer = "[Round 0]\n问：q0\n答：a0\n" if len(kept) > 1 else "[Round 0]\n问：q0\n答：a0\n[Round 1]\n问：\n答："
        assert row.history_cut == 0 or len(row.context) + 1 + 2 + len(longer) > length  # one more would not fit
        assert (row.source_cut, row.target_cut) == (0, 0)


def test_a_prompt_that_is_too_long_loses_its_end_and_the_template_stays():
    [row] = rows([talk(("x" * 100, "abc"))], 30, task="sft", first_template="Q:{prompt} A:")
    assert shown(row.context) == "Q:" + "x" * 20 + " A:G"
    assert len(row.context) + 1 + 3 == 30
    assert (row.source_cut, row.target_cut) == (80, 0)
    [row] = rows([talk(("q", "a" * 100))], 30, task="sft")
    assert shown(row.context) == "qG"
    assert (len(row.answers[0]), row.target_cut) == (27, 73)
    [row] = rows([talk(("q" * 100, "a" * 100))], 30, task="sft")
    assert (len(row.context), len(row.answers[0])) == (14, 15)


def test_limits_of_the_recipe_are_chatglms():
    """Its ptuning: source <= max_source - 1 and [gMASK], target <= max_target - 2 with sop and eop."""
    [row] = rows([talk(("q" * 99, "a" * 99))], 64, task="sft", max_source_length=16, max_target_length=24)
    assert shown(row.context) == "q" * 15 + "G"
    assert shown(row.answers[0]) == "a" * 22


def test_templates_lose_the_ends_of_their_longest_fields():
    parts = [(True, "x" * 30), (False, "|"), (True, "y" * 20), 0, (True, "zz")]
    example = Example(parts=parts, choices=["no", "maybe"], label=1)
    [row] = rows([example], 29, task="cloze", cls=True, eos=True)
    assert shown(row.context) == "C" + "x" * 9 + "|" + "y" * 8 + "MzzE"
    assert [shown(answer) for answer in row.answers] == ["no", "maybe"]
    assert (row.mask_place, row.mask, row.label, row.source_cut) == (19, 0, 1, 33)
    with pytest.raises(ConfigError, match="alone has 25 tokens, of 16"):
        rows([Example(parts=[(False, "l" * 24), 0], choices=["n" * 15])], 32, task="cloze")


def test_sources_are_filled_up_where_the_recipe_says_so():
    example = Example(parts=[1, (True, "src")], choices=["t"])
    options = {"task": "seq2seq", "template": "[sMASK]{source}", "max_source_length": 8}
    assert shown(rows([example], 20, **options)[0].context) == "Ssrc"
    assert shown(rows([example], 20, **options, pad_source=True)[0].context) == "SsrcEEEE"


def test_a_causal_context_stands_before_its_answer():
    [row] = rows([talk(("q", "a"))], 20, task="sft", causal=True, cls=True)
    assert (shown(row.context), shown(row.silent), shown(row.answers[0])) == ("CG", "q", "a")
    assert (row.mask_place, row.mask) == (1, 2)


texts = st.text("ab\n", min_size=1, max_size=40)


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.tuples(texts, texts), min_size=1, max_size=6), min_size=1, max_size=3),
    st.integers(16, 120),
    st.booleans(),
    st.sampled_from([None, 9]),
)
def test_every_response_has_a_row_that_fits(dialogues, length, causal, most):
    found = rows(
        [talk(*turns) for turns in dialogues], length, task="sft", causal=causal, cls=True, max_target_length=most
    )
    assert [row.example for row in found] == [n for n, turns in enumerate(dialogues) for _ in turns]
    told = iter(answer for turns in dialogues for _, answer in turns)
    for row in found:
        answer = next(told)
        assert len(row.context) + len(row.silent) + 1 + len(row.answers[0]) <= length
        assert len(row.answers[0]) >= 1
        assert answer.startswith(shown(row.answers[0]))
        assert row.context[row.mask_place] == SPECIAL.gmask


@settings(max_examples=60)
@given(st.lists(texts, min_size=1, max_size=5), texts, st.integers(16, 60))
def test_every_question_has_a_row_that_fits(fields, choice, length):
    example = Example(parts=[*((True, text) for text in fields), 0], choices=[choice])
    [row] = rows([example], length, task="cloze", cls=True, eos=True)
    left = shown(row.context)[1:-2]
    assert len(row.context) + 1 + len(row.answers[0]) <= length
    assert row.source_cut == sum(map(len, fields)) - len(left)
    assert row.source_cut == 0 or len(row.context) + 1 + len(row.answers[0]) == length
