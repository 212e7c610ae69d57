"""Rows of fine-tuning: the original's builders on its golden vectors, and their definition in plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from infilled import COLUMNS, golden

from glmdata.infilling.answers import Answers, causal_input, cloze_input, decoder_input, lay_out_answers
from glmdata.infilling.restore import restore
from glmdata.infilling.style import Style

SPECIAL = {"cls": 91, "eos": 90, "mask": 92, "sep": 97, "sop": 95, "eop": 96}
STYLE = Style(sop=95, eop=96, cls=91, eos=90, pad=90, mask_ids=np.array([92, 93, 94]))
L = 24


def as_columns(sample):
    """In the original's words: ids, positions by row, targets, loss mask."""
    ids, targets, loss, positions, blocks = (column.tolist() for column in sample[:5])
    return {"ids": ids, "position_ids": [positions, blocks], "target_ids": targets, "loss_mask": loss}


def test_all_builders_of_the_original_are_reproduced():
    ids, cases = golden("data_finetune_builders.json")
    special = {"cls": ids["ENC"], "eos": ids["eos"], "mask": ids["MASK"]}
    special |= {role: ids[role] for role in ("sep", "sop", "eop")}
    seen = dict.fromkeys(("build_input_from_ids", "build_uni_input_from_ids", "build_decoder_input"), 0)
    for case in cases:
        if case["fn"] == "build_input_from_ids":
            options = {name: case["options"][name] for name in ("add_cls", "add_sep", "add_eos")}
            length = case["max_seq_length"]
            sample = cloze_input(case["text_a"], case["text_b"], case["answer"], length, special, **options)
        elif case["fn"] == "build_uni_input_from_ids":
            sample = causal_input(case["text_a"], case["answer"], case["max_seq_length"], special)
        else:
            answer = case["answer"][: sum(case["paddings"])]  # the golden answer is padded already
            sample = decoder_input(case["enc_ids"], answer, case["max_dec_seq_length"], special)
        found = as_columns(sample)
        assert found == {name: case[name] for name in found}, case["id"]
        if "sep" in case:
            assert sample.context_length == case["sep"], case["id"]
        if "paddings" in case:
            answer_at = sample.context_length if case["fn"] == "build_input_from_ids" else 0
            assert sum(case["paddings"]) == answer_at + sum(found["loss_mask"]), case["id"]
        seen[case["fn"]] += 1
    assert seen == {"build_input_from_ids": 24, "build_uni_input_from_ids": 6, "build_decoder_input": 6}


def by_definition(context, place, answer, silent, mask_id):
    """One row as lists padded to L, straight from the definition."""
    context = [*context[:place], mask_id, *context[place + 1 :]]
    n, size = len(context), len(answer) + 1
    spare = L - n - size
    return {
        "input_ids": [*context, 95, *answer, *[90] * spare],
        "target_ids": [*context, *answer, 96, *[0] * spare],
        "loss_mask": [0] * (n + silent) + [1] * (size - silent) + [0] * spare,
        "position_ids": [*range(n), *[place] * size, *[0] * spare],
        "block_position_ids": [0] * n + [*range(1, size + 1)] + [0] * spare,
        "context_length": n,
        "length": n + size,
    }


@st.composite
def rows(draw):
    context = draw(st.lists(st.integers(0, 89), min_size=1, max_size=L - 2))
    place = draw(st.integers(0, len(context) - 1))
    answer = draw(st.lists(st.integers(0, 89), min_size=1, max_size=L - 1 - len(context)))
    return context, place, answer, draw(st.integers(0, len(answer)))


@given(st.lists(rows(), min_size=1, max_size=5), st.sampled_from([0, 1, 2]))
def test_rows_follow_the_definition_and_their_text_comes_back(drawn, mask):
    contexts, places, answers, silent = zip(*drawn, strict=True)
    joined = Answers(
        np.array([token for context in contexts for token in context], np.uint32),
        np.cumsum([0, *map(len, contexts)]),
        np.array(places),
        np.full(len(drawn), mask),
        np.array([token for answer in answers for token in answer], np.uint32),
        np.cumsum([0, *map(len, answers)]),
        np.array(silent),
    )
    pages, context_length, length = lay_out_answers(joined, STYLE, L)
    for row, (context, place, answer, quiet) in enumerate(drawn):
        found = {name: getattr(pages, name)[row].tolist() for name in COLUMNS}
        found |= {"context_length": int(context_length[row]), "length": int(length[row])}
        assert found == by_definition(context, place, answer, quiet, 92 + mask)
        restored = restore({name: np.array(value) for name, value in found.items()}, STYLE)
        assert restored.tokens.tolist() == [*context[:place], *answer, *context[place + 1 :]]
        assert restored.spans.tolist() == [[place, place + len(answer)]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="more than 6 tokens"):
        cloze_input([1, 92, 2], None, [3, 4, 96], 6, SPECIAL)
    assert cloze_input([1, 92, 2], None, [3, 96], 7, SPECIAL).input_ids.tolist() == [91, 1, 92, 2, 90, 95, 3]
    one = Answers(*(np.array(values) for values in ([5], [0, 1], [1], [0], [7], [0, 1], [0])))
    with pytest.raises(ValueError, match="without its mask"):
        lay_out_answers(one, STYLE, L)
