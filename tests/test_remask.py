"""Fresh masks: true samples of the same text by the recipe's rules, a function of (seed, epoch, sample id) alone."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from infilled import (
    ONLY,
    SEED,
    SHARED_PAD,
    Text,
    article_stream,
    check_spans,
    documents,
    figures,
    laid_out,
    row_of,
    rows_of_any_style,
    special_for,
    taken_apart,
    text_of,
    views_of,
)

from glmdata.errors import ShardCorruptError
from glmdata.infilling.remask import mask_again
from glmdata.infilling.restore import restore
from glmdata.infilling.spans import span_rules
from glmdata.infilling.style import style_of
from glmdata.infilling.unmask import Tensors, lay_out_rows
from glmdata.infilling.windows import DOCUMENT, SENTENCE, TOKEN
from glmdata.recipe import SpanSettings
from glmdata.shards.compact import unmasked


def remasked(rows, epoch, spans, special):
    """(columns, tokens not placed) of the rows in an epoch."""
    width = rows.input_ids.shape[1]
    style = style_of(special.by_role(), spans, width)
    found, epochs = taken_apart(rows, style), np.full(len(rows.length), epoch, np.int64)
    lost = mask_again(found, epochs, span_rules(spans), style, SEED)
    return laid_out(found, epochs, style), lost


@settings(max_examples=100)
@given(*rows_of_any_style)
def test_rows_taken_apart_and_laid_out_are_as_they_were(text, length, objectives, spans):
    special = special_for(spans)
    rows = text.rows(length, objectives=objectives, spans=spans, special=special)

    columns, lost = remasked(rows, 0, spans, special)

    assert lost == 0
    for name, column in columns.items():
        assert np.array_equal(column, getattr(rows, name)), name


@settings(max_examples=150)
@given(*rows_of_any_style, st.integers(1, 5))
def test_a_fresh_row_has_the_same_text_and_keeps_every_rule(text, length, objectives, spans, epoch):
    special = special_for(spans)
    rows = text.rows(length, objectives=objectives, spans=spans, special=special)
    style = style_of(special.by_role(), spans, length)
    columns, _ = remasked(rows, epoch, spans, special)
    start = 0
    for row in range(len(rows.length)):
        fresh = {name: column[row] for name, column in columns.items()}
        want, owner = text_of(text, rows, row, start, special)
        found = restore(fresh, style)
        assert found.tokens.tolist() == want
        assert sorted(found.order.tolist()) == list(range(len(found.spans)))
        assert not spans.sentinels or len(found.spans) <= spans.sentinels + 1

        shown = [(a, b - (owner[b - 1] < 0)) for a, b in found.spans.tolist()]  # an open suffix takes its eos along
        runs = [[i for i, name in enumerate(owner) if name == document] for document in sorted({*owner} - {-1})]
        edges = [(run[0], run[-1] + 1) for run in runs if owner[run[0]] >= 0]
        mine = slice(*rows.sentence_end_offsets[row : row + 2])
        check_spans(int(rows.objective[row]), shown, edges, rows.sentence_ends[mine].tolist(), len(want))
        used = int(fresh["length"])
        is_open = used == len(want) + 2 * len(found.spans) - 1
        assert used <= length
        assert is_open or used == len(want) + 2 * len(found.spans)
        assert (fresh["input_ids"][used:] == special.pad).all()
        assert not is_open or (rows.objective[row] == DOCUMENT and not spans.document_eop)
        start += int(rows.text_tokens[row])


@settings(max_examples=40)
@given(documents.map(Text), st.sampled_from([16, 64, 512]), st.data())
def test_a_fresh_row_depends_on_its_epoch_its_id_and_itself_only(text, length, data):
    spans = SpanSettings(random_positions=True, block_mask_ratio=0.2)
    special = special_for(spans)
    rows = text.rows(length, spans=spans, special=special)
    style = style_of(special.by_role(), spans, length)
    epochs = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(rows.length), max_size=len(rows.length))))
    mixed = taken_apart(rows, style)
    mask_again(mixed, epochs, span_rules(spans), style, SEED)
    mixed = laid_out(mixed, epochs, style)
    for epoch in set(epochs.tolist()):
        alone, _ = remasked(rows, epoch, spans, special)
        for name, column in alone.items():
            assert np.array_equal(mixed[name][epochs == epoch], column[epochs == epoch]), (name, epoch)


def test_epochs_differ_and_so_do_spans_and_order():
    rows = article_stream(20_000).rows(512)
    drawn = [remasked(rows, epoch, SpanSettings(), SHARED_PAD)[0] for epoch in range(4)]

    for one, other in itertools.combinations(drawn, 2):
        same = (one["input_ids"] == other["input_ids"]).all(axis=1)
        assert same.mean() < 0.1


@pytest.mark.parametrize("objective", [TOKEN, SENTENCE, DOCUMENT])
def test_masks_of_later_epochs_are_distributed_as_the_first(objective):
    text = article_stream(3_000_000, 1500)
    rows = text.rows(512, objectives=ONLY[objective])
    spans, masked, size = figures(rows)
    for epoch in (1, 2):
        columns, lost = remasked(rows, epoch, SpanSettings(), SHARED_PAD)
        context, length = columns["context_length"], columns["length"]
        fresh = (columns["input_ids"] == SHARED_PAD.sop).sum(1)

        assert (length - 2 * fresh == size).all()
        assert fresh.mean() == pytest.approx(spans.mean(), rel=0.01)
        assert (length - context - fresh).mean() == pytest.approx(masked.mean(), rel=0.02)
        assert lost <= 0.001 * masked.sum() + rows.reduced_tokens[objective]


def test_rows_that_are_full_lose_hardly_anything():
    """No sentence ends: each row was cut where its first spans left room, and not a token before."""
    rows = Text([[3_000_000]]).rows(512, objectives=ONLY[TOKEN])
    spans, masked, _ = figures(rows)
    assert rows.length[:-1].mean() > 511

    columns, lost = remasked(rows, 1, SpanSettings(), SHARED_PAD)

    fresh = (columns["input_ids"] == SHARED_PAD.sop).sum(1)
    total = (columns["length"] - columns["context_length"] - fresh).sum()
    assert total == pytest.approx(masked.sum(), rel=0.005)
    assert fresh.mean() == pytest.approx(spans.mean(), rel=0.005)
    assert 0 < lost < 0.002 * total


def test_long_rows_are_masked_again_too():
    rows = Text([[700_000]]).rows(65_535, objectives=ONLY[TOKEN])
    spans, masked, _ = figures(rows)

    columns, _ = remasked(rows, 1, SpanSettings(), SHARED_PAD)

    fresh = (columns["input_ids"] == SHARED_PAD.sop).sum(1)
    assert fresh.mean() == pytest.approx(spans.mean(), rel=0.01)
    assert (columns["length"] - columns["context_length"] - fresh).sum() == pytest.approx(masked.sum(), rel=0.01)


@pytest.mark.parametrize("sequence_length", [16, 18, 24])
def test_the_shortest_rows_are_masked_again_without_losing_text(sequence_length):
    text = Text([[3, 2], [9], [1], [40], [1, 1, 1, 1]])
    rows = text.rows(sequence_length)
    style = style_of(SHARED_PAD.by_role(), SpanSettings(), sequence_length)
    for epoch in range(1, 30):
        columns, _ = remasked(rows, epoch, SpanSettings(), SHARED_PAD)
        for row in range(len(rows.length)):
            before = restore(row_of(rows, row), style)
            after = restore({name: column[row] for name, column in columns.items()}, style)
            assert after.tokens.tolist() == before.tokens.tolist()


def broken(change):
    rows = Text([[30, 30]]).rows(64, objectives=ONLY[TOKEN])
    style = style_of(SHARED_PAD.by_role(), SpanSettings(), 64)
    found = taken_apart(rows, style)
    change(found)
    return found, style


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.spans.__setitem__((0, 0, 0), -1),
        lambda f: f.spans.__setitem__((0, 0, 1), f.spans[0, 0, 0]),
        lambda f: f.spans.__setitem__((0, f.num_spans[0] - 1, 1), 99),
        lambda f: f.order.__setitem__((0, 0), 40),
        lambda f: f.order.__setitem__((0, 0), f.order[0, 1]),
        lambda f: f.num_spans.__setitem__(0, 0),
        lambda f: f.size.__setitem__(0, 64),
        lambda f: f.objective.__setitem__(0, 3),
        lambda f: f.sentence_ends.__setitem__((0, 0), 0),
        lambda f: f.sentence_ends.__setitem__((0, int(f.num_ends[0]) - 1), 65),
    ],
)
def test_rows_that_kernels_must_not_see_are_refused(change):
    found, style = broken(change)
    epochs = np.ones(len(found.size), np.int64)

    with pytest.raises(ShardCorruptError, match="do not lie in its text"):
        lay_out_rows(found, epochs, style, SEED, Tensors.empty(*found.tokens.shape))
    with pytest.raises(ShardCorruptError, match="do not lie in its text"):
        mask_again(found, epochs, span_rules(SpanSettings()), style, SEED)


@given(st.integers(0, 10**6), st.integers(1, 200))
def test_damaged_rows_are_refused_or_undone_but_never_crash(number, hits):
    """Whatever stands in the matrices: the kernel looks before it writes."""
    rng = np.random.default_rng(number)
    rows = Text([[9, 30], [20], [60]]).rows(64)
    views = {name: column.copy() for name, column in views_of(rows).items()}
    for _ in range(hits):
        name = ("input_ids", "target_ids", "position_ids", "context_length", "length")[rng.integers(5)]
        value = rng.choice([rng.integers(0, 70), rng.integers(1000, 1008), 65535])
        views[name].flat[rng.integers(views[name].size)] = value
    spans = SpanSettings(sentinels=int(rng.integers(0, 3)))
    style = style_of(special_for(spans).by_role(), spans, 64)
    found = None
    with contextlib.suppress(ValueError):
        found = unmasked(views, 64, style)
    assert found is None or (found.size <= 64).all()
