"""Rows: no token lost, each row a true sample, full, and a function of the seed, its id and its own text."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from infilled import ONLY, OWN_PAD, SHARED_PAD, Text, article_stream, check_spans, documents, expected_text, unmask

from glmdata.infilling.layout import lay_out
from glmdata.infilling.windows import DOCUMENT, SENTENCE, TOKEN, fill_rows
from glmdata.recipe import ObjectiveWeights, SpanSettings
from glmdata.tokenization.special import SpecialTokens


@settings(max_examples=150, deadline=None)
@given(
    documents.map(Text),
    st.one_of(st.integers(16, 80), st.sampled_from([512, 2048])),
    st.sampled_from(["concat", "document"]),
    st.sampled_from([ObjectiveWeights(), *ONLY.values()]),
    st.sampled_from([SHARED_PAD, OWN_PAD]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**40),
)
def test_rows_hold_the_stream_and_keep_every_rule(
    text, length, packing, objectives, special, continued, complete, first
):
    rows = text.rows(
        length,
        packing=packing,
        objectives=objectives,
        special=special,
        continued=continued,
        complete=complete,
        first_sample_id=first,
    )

    kinds = {TOKEN: special.mask, SENTENCE: special.smask, DOCUMENT: special.gmask}
    start, counts = 0, np.zeros((2, 3), np.int64)
    for row in range(len(rows.length)):
        objective, used = int(rows.objective[row]), int(rows.length[row])
        tokens, spans, order = unmask(rows, row, special)
        want, runs, ends = expected_text(text, rows, row, start, special, complete)
        assert tokens == want
        assert used == len(tokens) + 2 * len(spans) <= length
        mine = slice(*rows.sentence_end_offsets[row : row + 2])
        assert rows.sentence_ends[mine].tolist() == ends
        inside = start not in text.offsets
        assert bool(rows.continued[row]) == (inside or (continued and start == 0))
        assert packing == "concat" or rows.document_last[row] == rows.document_first[row] + 1
        check_spans(objective, spans, runs, ends, len(tokens))
        counts[:, objective] += len(spans), sum(b - a for a, b in spans)

        laid = lay_out(tokens, spans, order, mask_id=kinds[objective], sop_id=special.sop, eop_id=special.eop)
        assert rows.context_length[row] == laid.context_length
        columns = rows.input_ids, rows.target_ids, rows.loss_mask, rows.position_ids, rows.block_position_ids
        for column, values, filler in zip(columns, laid[:5], (special.pad, 0, 0, 0, 0), strict=True):
            assert column[row, :used].tolist() == values.tolist()
            assert (column[row, used:] == filler).all()
        start += int(rows.text_tokens[row])
    assert start == len(text.tokens)
    assert counts.tolist() == [rows.spans.tolist(), rows.masked_tokens.tolist()]
    assert rows.sample_id.tolist() == list(range(first, first + len(rows.length)))


@settings(max_examples=40, deadline=None)
@given(documents.map(Text), st.sampled_from([16, 64, 512]), st.sampled_from(["concat", "document"]), st.data())
def test_a_row_depends_on_the_seed_its_id_and_its_own_text_only(text, length, packing, data):
    whole = text.rows(length, packing=packing)
    row = data.draw(st.integers(0, len(whole.length) - 1))
    start, document = int(whole.text_tokens[:row].sum()), int(whole.document_first[row])

    tail = fill_rows(
        text.tokens[start:],
        np.maximum(text.offsets[document:] - start, 0),
        text.ends[text.ends > start] - start,
        continued=bool(whole.continued[row]),
        complete=True,
        special=SHARED_PAD,
        sequence_length=length,
        packing=packing,
        objectives=ObjectiveWeights(),
        spans=SpanSettings(),
        seed=7,
        first_sample_id=row,
    )

    for name in ("input_ids", "target_ids", "loss_mask", "position_ids", "block_position_ids", "context_length"):
        assert np.array_equal(getattr(tail, name), getattr(whole, name)[row:]), name
    for name in ("length", "objective", "sample_id", "text_tokens", "continued"):
        assert np.array_equal(getattr(tail, name), getattr(whole, name)[row:]), name
    assert np.array_equal(tail.sentence_ends, whole.sentence_ends[whole.sentence_end_offsets[row] :])


def test_other_seeds_give_other_masks_of_the_same_text():
    text = article_stream(20_000)
    one, other = text.rows(512), text.rows(512, seed=8)

    assert (one.objective[:30] != other.objective[:30]).any()
    assert not np.array_equal(one.input_ids[0], other.input_ids[0])


def test_rows_of_the_same_text_are_masked_each_in_their_own_way():
    text = Text([[10] * 20] * 40)
    for objective, weights in ONLY.items():
        rows = text.rows(512, packing="document", objectives=weights)
        found = [unmask(rows, row, SHARED_PAD)[1:] for row in range(40)]

        assert len({tuple(spans) for spans, _ in found}) > 30, objective
        assert objective == DOCUMENT or len({tuple(order) for _, order in found}) > 5


@pytest.mark.parametrize("length", [512, 2048])
@pytest.mark.parametrize(("document", "sentence"), [(700, 25), (60, 12), (5000, 40)])
def test_joined_rows_are_more_than_97_percent_full(length, document, sentence):
    for objectives in (ObjectiveWeights(), *ONLY.values()):
        rows = article_stream(200_000, document, sentence).rows(length, objectives=objectives)

        assert rows.length[:-1].mean() / length > 0.97


def test_most_rows_end_with_a_sentence_where_sentences_are_short():
    text = article_stream(200_000, 700, 12)
    rows = text.rows(512)

    ends = np.cumsum(rows.text_tokens)
    assert np.isin(ends, text.ends).mean() > 0.85


def test_objectives_and_mask_ratios_are_those_asked_for():
    text = article_stream(1_500_000, 1500)
    mixed = text.rows(512)
    share = np.bincount(mixed.objective, minlength=3) / len(mixed.objective)
    assert np.abs(share - [0.5, 0.3, 0.2]).max() < 0.03

    rows = text.rows(512, objectives=ONLY[TOKEN])
    size = rows.length.astype(np.int64).sum() - 2 * rows.spans[TOKEN]
    assert rows.masked_tokens[TOKEN] / size == pytest.approx(0.152, abs=0.002)  # the last length may overshoot
    assert rows.masked_tokens[TOKEN] / rows.spans[TOKEN] == pytest.approx(3.157, rel=0.01)
    assert rows.reduced_tokens[TOKEN] == 0


def test_no_token_is_masked_much_more_often_than_another():
    text = Text([[40] for _ in range(8)])
    masked = np.zeros(320)
    for seed in range(600):
        rows = text.rows(512, objectives=ONLY[TOKEN], seed=seed)
        tokens, spans, _ = unmask(rows, 0, SHARED_PAD)
        place = np.flatnonzero(np.array(tokens) < 1000)
        for start, end in spans:
            masked[(place >= start) & (place < end)] += 1

    by_document = masked.reshape(8, 40).mean(1)
    assert by_document.min() / by_document.max() > 0.85


def test_spans_may_stay_in_text_order():
    rows = article_stream(30_000).rows(512, spans=SpanSettings(shuffle=False))

    for row in range(len(rows.length)):
        _, spans, order = unmask(rows, row, SHARED_PAD)
        assert order == list(range(len(spans)))


def test_narrow_ids_are_the_same_ids():
    text = article_stream(5_000)
    wide, narrow = text.rows(128), text.rows(128, token_dtype=np.uint16)

    assert (wide.input_ids.dtype, narrow.input_ids.dtype) == (np.uint32, np.uint16)
    assert np.array_equal(wide.input_ids, narrow.input_ids)
    assert np.array_equal(wide.target_ids, narrow.target_ids)


def test_an_empty_stretch_gives_no_rows():
    rows = Text([]).rows(64)

    assert rows.input_ids.shape == (0, 64)
    assert rows.sentence_end_offsets.tolist() == [0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_length": 15}, "sequence_length 15"),
        ({"sequence_length": 65536}, "sequence_length 65536"),
        ({"token_dtype": np.uint8}, "uint16 or uint32"),
        ({"token_dtype": np.uint16, "special": SpecialTokens.above(65_530)}, "too narrow"),
        ({"special": SpecialTokens.above(5)}, "0 to 4"),
    ],
)
def test_unusable_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Text([[10]]).rows(64, **changes)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tokens", np.full(10, -1, np.int32), "text ids"),
        ("tokens", np.zeros(10), "integers"),
        ("tokens", np.zeros(9, np.int32), "document_offsets"),
        ("offsets", np.array([0, 5, 5, 10]), "document_offsets"),
        ("offsets", np.array([1, 10]), "document_offsets"),
        ("ends", np.array([3, 3, 10]), "sentence_ends"),
        ("ends", np.array([3]), "sentence_ends"),
        ("ends", np.array([10, 11]), "sentence_ends"),
        ("ends", np.array([0, 10]), "sentence_ends"),
    ],
)
def test_text_that_does_not_hang_together_is_refused(name, value, message):
    text = Text([[3, 7]])
    setattr(text, name, value)

    with pytest.raises(ValueError, match=message):
        text.rows(64)
