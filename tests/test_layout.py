"""lay_out against the original GLM code's golden vectors and against the definition in plain Python."""

import json

import numpy as np
import pytest
from corpora import SHARED
from hypothesis import given
from hypothesis import strategies as st

from glmdata.infilling.layout import MAX_SAMPLE_LENGTH, Sample, lay_out

IDS = {"mask_id": 70_001, "sop_id": 70_002, "eop_id": 70_003}


def as_lists(sample):
    return [sample.context_length, *(np.asarray(column).tolist() for column in sample[:5])]


def by_definition(tokens, spans, order, *, mask_id, sop_id, eop_id):
    """Context length, input ids, target ids, loss mask, positions and block positions, straight from the definition."""
    part_a, places, last = [], [], 0
    for start, end in spans:
        part_a += [*tokens[last:start], mask_id]
        places.append(len(part_a) - 1)
        last = end
    part_a += tokens[last:]
    n = len(part_a)
    inputs, targets, loss, positions, blocks = part_a[:], part_a[:], [0] * n, list(range(n)), [0] * n
    for k in order:
        span = tokens[spans[k][0] : spans[k][1]]
        inputs += [sop_id, *span]
        targets += [*span, eop_id]
        loss += [1] * (len(span) + 1)
        positions += [places[k]] * (len(span) + 1)
        blocks += range(1, len(span) + 2)
    return [n, inputs, targets, loss, positions, blocks]


@st.composite
def cases(draw):
    tokens = draw(st.lists(st.integers(0, 2**16 - 1), max_size=80))
    edges = draw(st.lists(st.integers(0, len(tokens)), unique=True, max_size=24).map(sorted))
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    if spans and spans[0][1] - spans[0][0] > 1:  # two spans that touch
        (start, end), middle = spans[0], spans[0][0] + 1
        spans[:1] = [(start, middle), (middle, end)]
    return tokens, spans, draw(st.permutations(range(len(spans))))


def test_golden_layouts_of_the_original_are_reproduced():
    path = SHARED / "golden" / "data_make_block.json"
    if not path.exists():
        pytest.skip(f"no golden vectors at {path}")
    golden = json.loads(path.read_text("utf-8"))
    ids = golden["meta"]["command_ids"]
    plain = [case for case in golden["cases"] if case["variant"] == "plain"]
    for case in plain:
        task = {"gap_sentence": "sMASK", "generation": "gMASK"}.get(case["task"], "MASK")
        mask = ids[task if case["options"].get("task_mask") else "MASK"]
        sample = lay_out(
            case["input"], case["spans"], case["part_b_order"], mask_id=mask, sop_id=ids["sop"], eop_id=ids["eop"]
        )

        columns = case["tokens"], case["targets"], case["loss_mask"], *case["position_ids"]
        assert as_lists(sample) == [case["sep"], *columns], case["id"]
    assert len(plain) == 200


@given(cases(), st.sampled_from([list, np.int32, np.uint16, np.int64]))
def test_every_sample_follows_the_definition_and_inputs_stay_as_they_were(case, kind):
    tokens, spans, order = case
    convert = list if kind is list else lambda values: np.array(values, kind)
    given_tokens, given_order = convert(tokens), convert(order)
    if kind is not list:
        given_tokens.flags.writeable = False

    sample = lay_out(given_tokens, spans, given_order, **IDS)

    assert as_lists(sample) == by_definition(tokens, spans, order, **IDS)
    assert list(given_tokens) == tokens
    assert list(given_order) == order


def test_the_worked_example_of_the_docstring_holds():
    sample = lay_out([10, 11, 12, 13], [(1, 3)], [0], mask_id=90, sop_id=91, eop_id=92)

    assert as_lists(sample) == [
        3,
        [10, 90, 13, 91, 11, 12],
        [10, 90, 13, 11, 12, 92],
        [0, 0, 0, 1, 1, 1],
        [0, 1, 2, 1, 1, 1],
        [0, 0, 0, 1, 2, 3],
    ]
    assert [column.dtype for column in sample[:5]] == [np.uint32, np.uint32, np.uint8, np.uint16, np.uint16]
    assert isinstance(sample, Sample)


@pytest.mark.parametrize(
    ("tokens", "spans", "order", "message"),
    [
        ([1, 2, 3], [(0, 2), (1, 3)], [0, 1], "without overlap"),
        ([1, 2, 3], [(2, 3), (0, 1)], [0, 1], "in text order"),
        ([1, 2, 3], [(1, 1)], [0], "start < end"),
        ([1, 2, 3], [(1, 4)], [0], "the text from 0 to 3"),
        ([1, 2, 3], [(-1, 1)], [0], "reach from -1"),
        ([1, 2, 3], [(0, 1)], [1], "permutation"),
        ([1, 2, 3], [(0, 1), (1, 2)], [0, 0], "permutation"),
        ([1, 2, 3], [(0, 1)], [], "permutation"),
        ([1, -2, 3], [(0, 1)], [0], "token ids"),
        ([1, 2**32], [(0, 1)], [0], "token ids"),
        ([1.0, 2.5], [(0, 1)], [0], "tokens must be integers"),
        (np.array([2**63], np.uint64), [(0, 1)], [0], "below 2"),
        (np.zeros(MAX_SAMPLE_LENGTH - 1, np.int32), [(0, 1)], [0], "after masking"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(tokens, spans, order, message):
    with pytest.raises(ValueError, match=message):
        lay_out(tokens, spans, order, **IDS)


def test_a_text_without_spans_is_all_context():
    assert as_lists(lay_out([5, 6], [], [], **IDS)) == [2, [5, 6], [5, 6], [0, 0], [0, 1], [0, 0]]
    assert lay_out([], [], [], **IDS).context_length == 0
