"""Rows of segments: each document of a row is a sample of its own, and no sample sees another."""

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
    laid_out,
    row_of,
    spans_settings,
    special_for,
    taken_apart,
    text_of,
)

from glmdata.errors import ConfigError, ShardCorruptError
from glmdata.infilling.remask import mask_again
from glmdata.infilling.restore import restore
from glmdata.infilling.segments import find_segments, token_segments
from glmdata.infilling.spans import span_rules
from glmdata.infilling.style import style_of
from glmdata.infilling.windows import DOCUMENT, TOKEN
from glmdata.recipe import ObjectiveWeights, Recipe, SpanSettings, load_recipe

closed_spans = spans_settings.map(lambda found: found.model_copy(update={"document_eop": True}))
objective_mixes = st.sampled_from([ObjectiveWeights(), *ONLY.values()])


def segments_of(row, style):
    """(start, sample) of each segment of a finished row, the sample as a row of its own; in plain Python."""
    length = int(row["length"])
    starts = [i for i in range(length) if row["input_ids"][i] == style.cls]
    found = []
    for start, end in itertools.pairwise([*starts, length]):
        one = {name: row[name][start:end] for name in row if name not in ("context_length", "length")}
        sops = [i for i in range(end - start) if one["input_ids"][i] in style.all_sop_ids()]
        found.append((start, one | {"context_length": sops[0], "length": end - start}))
    return found


@settings(max_examples=150)
@given(documents.map(Text), st.sampled_from([16, 40, 128, 512]), objective_mixes, closed_spans)
def test_a_row_is_samples_of_one_document_each(text, length, objectives, spans):
    special = special_for(spans)
    rows = text.rows(length, packing="segments", objectives=objectives, spans=spans, special=special)
    style, plain = (style_of(special.by_role(), spans, length, packing) for packing in ("segments", "document"))
    begin = 0
    for row in range(len(rows.length)):
        want, owner = text_of(text, rows, row, begin, special)
        found, whole = row_of(rows, row), restore(row_of(rows, row), style)
        assert whole.tokens.tolist() == want
        assert sorted(whole.order.tolist()) == list(range(len(whole.spans)))
        ends = rows.sentence_ends[slice(*rows.sentence_end_offsets[row : row + 2])].tolist()
        before = 0
        for number, (start, one) in enumerate(segments_of(found, style)):
            sample = restore(one, plain)
            size = len(sample.tokens)
            assert sample.tokens.tolist() == want[before : before + size]
            assert len({document for document in owner[before : before + size] if document >= 0}) == 1
            closing = int(sample.tokens[-1] == special.eos)
            mine = [end - before for end in ends if before < end <= before + size]
            check_spans(
                int(rows.objective[row]), [*map(tuple, sample.spans.tolist())], [(1, size - closing)], mine, size
            )
            assert one["length"] == size + 2 * len(sample.spans)
            assert start > 0 or one["context_length"] == found["context_length"]
            assert number == 0 or start + one["length"] <= length
            before += size
        assert before == len(want)
        assert (found["input_ids"][int(rows.length[row]) :] == special.pad).all()
        begin += int(rows.text_tokens[row])
    assert begin == len(text.tokens)


@settings(max_examples=60)
@given(st.integers(1, 400), st.sampled_from([64, 512]), objective_mixes, st.integers(0, 2**40))
def test_a_row_of_one_document_is_the_same_in_every_packing(size, length, objectives, first):
    text = Text([[size]])
    one, other = (
        text.rows(length, packing=packing, objectives=objectives, first_sample_id=first)
        for packing in ("segments", "document")
    )
    assert np.array_equal(one.input_ids, other.input_ids)
    assert np.array_equal(one.position_ids, other.position_ids)


def test_segments_of_a_row_are_masked_independently():
    rows = Text([[60]] * 600).rows(512, packing="segments", objectives=ONLY[TOKEN])
    style = style_of(SHARED_PAD.by_role(), SpanSettings(), 512, "segments")
    seen = set()
    for row in range(len(rows.length) - 1):  # the last may be short
        samples = [restore(one, style._replace(apart=False)) for _, one in segments_of(row_of(rows, row), style)]
        assert len(samples) > 5
        seen |= {(tuple(sample.spans.ravel()), tuple(sample.order)) for sample in samples}
    assert len(seen) > 590


@pytest.mark.parametrize("weights", [ObjectiveWeights(), *ONLY.values()])
def test_rows_of_segments_are_full(weights):
    for text in (article_stream(200_000), article_stream(100_000, mean_document=60, mean_sentence=12)):
        rows = text.rows(512, packing="segments", objectives=weights)
        assert rows.length.mean() / 512 > 0.96


def test_masks_are_as_often_and_as_long_as_in_other_packings():
    text = article_stream(400_000, mean_document=120)
    ratios = []
    for packing in ("document", "segments"):
        rows = text.rows(512, packing=packing, objectives=ONLY[TOKEN])
        ratios.append(rows.masked_tokens[TOKEN] / rows.text_tokens.sum())
    assert ratios[0] == pytest.approx(ratios[1], rel=0.02)


@settings(max_examples=100)
@given(documents.map(Text), st.sampled_from([16, 40, 128, 512]), objective_mixes, closed_spans, st.integers(0, 5))
def test_fresh_masks_keep_the_text_and_the_rules_of_each_segment(text, length, objectives, spans, epoch):
    special = special_for(spans)
    rows = text.rows(length, packing="segments", objectives=objectives, spans=spans, special=special)
    style, plain = (style_of(special.by_role(), spans, length, packing) for packing in ("segments", "document"))
    found, epochs = taken_apart(rows, style), np.full(len(rows.length), epoch, np.int64)
    lost = mask_again(found, epochs, span_rules(spans), style, SEED)
    columns = laid_out(found, epochs, style)
    if epoch == 0:
        assert lost == 0
        for name, column in columns.items():
            assert np.array_equal(column, getattr(rows, name)), name
    for row in range(len(rows.length)):
        fresh, old = {name: column[row] for name, column in columns.items()}, row_of(rows, row)
        assert fresh["length"] <= old["length"]
        ends = rows.sentence_ends[slice(*rows.sentence_end_offsets[row : row + 2])].tolist()
        before = 0
        for (_, one), (_, was) in zip(segments_of(fresh, style), segments_of(old, style), strict=True):
            sample, first = restore(one, plain), restore(was, plain)
            assert sample.tokens.tolist() == first.tokens.tolist()
            assert 0 < len(sample.spans) <= len(first.spans)
            size = len(sample.tokens)
            mine = [end - before for end in ends if before < end <= before + size]
            closing = int(sample.tokens[-1] == special.eos)
            check_spans(
                int(rows.objective[row]), [*map(tuple, sample.spans.tolist())], [(1, size - closing)], mine, size
            )
            before += size


def test_fresh_masks_of_segments_are_distributed_as_the_first():
    text = article_stream(300_000, mean_document=90, mean_sentence=12)
    rows = text.rows(512, packing="segments")
    style = style_of(SHARED_PAD.by_role(), SpanSettings(), 512, "segments")
    first = taken_apart(rows, style)
    fresh = taken_apart(rows, style)
    epochs = np.ones(len(rows.length), np.int64)
    lost = mask_again(fresh, epochs, span_rules(SpanSettings()), style, SEED)

    def masked(found, objective):
        chosen = found.objective == objective
        spans = [found.spans[row, : found.num_spans[row]] for row in np.flatnonzero(chosen)]
        return np.diff(np.concatenate(spans), axis=1).ravel()

    for objective in ONLY:
        before, after = masked(first, objective), masked(fresh, objective)
        assert after.sum() == pytest.approx(before.sum(), rel=0.02 if objective != DOCUMENT else 0.05)
        assert len(after) == pytest.approx(len(before), rel=0.005)
    assert lost < 0.002 * len(text.tokens)
    changed = [not np.array_equal(first.spans[r, :3], fresh.spans[r, :3]) for r in range(len(rows.length))]
    assert np.mean(changed) > 0.98


@settings(max_examples=60)
@given(documents.map(Text), st.sampled_from([16, 40, 128]), objective_mixes)
def test_what_a_model_must_know_keeps_samples_apart(text, length, objectives):
    """Against the rule said plainly: same sample, and not later or in Part A."""
    rows = text.rows(length, packing="segments", objectives=objectives)
    style = style_of(SHARED_PAD.by_role(), SpanSettings(), length, "segments")
    found = find_segments(rows.input_ids, rows.block_position_ids, rows.length, style)
    ids, ends = token_segments(found, len(rows.length), length)
    assert (found.start + found.length <= length).all()
    for row in range(min(3, len(rows.length))):
        wanted = np.zeros((length, length), bool)
        used = int(rows.length[row])
        wanted[used:, used:] = np.tri(length - used, dtype=bool)
        for start, one in segments_of(row_of(rows, row), style):
            size, context = one["length"], one["context_length"]
            inside = slice(start, start + size)
            wanted[inside, inside] = np.tri(size, dtype=bool) | (np.arange(size) < context)
        key = np.arange(length)
        seen = (ids[row][:, None] == ids[row]) & ((key <= key[:, None]) | (key < ends[row][:, None]))
        assert np.array_equal(seen, wanted)


def test_samples_that_are_not_segments_are_one_a_row():
    rows = Text([[30], [40]]).rows(128)
    style = style_of(SHARED_PAD.by_role(), SpanSettings(), 128)
    found = find_segments(rows.input_ids, rows.block_position_ids, rows.length, style)
    assert found.start.tolist() == [0] * len(rows.length)
    assert found.context_length.tolist() == rows.context_length.tolist()
    assert found.length.tolist() == rows.length.tolist()


def test_segments_with_suffixes_that_are_not_closed_are_refused():
    with pytest.raises(ConfigError, match=r"leave spans\.document_eop true"):
        load_recipe("glm", ["packing=segments", "spans.document_eop=false"])
    assert Recipe(packing="segments").spans.document_eop
    with pytest.raises(ValueError, match=r"needs spans\.document_eop"):
        Text([[30]]).rows(64, packing="segments", spans=SpanSettings(document_eop=False))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.spans.__setitem__((0, 1, 0), 30),  # a span that reaches into the next sample
        lambda f: f.order.__setitem__((0, [0, f.num_spans[0] - 1]), f.order[0, [f.num_spans[0] - 1, 0]]),
        lambda f: f.closed.__setitem__(0, False),
        lambda f: f.tokens.__setitem__((0, slice(1, 5)), SHARED_PAD.eos),
    ],
)
def test_damaged_segments_never_reach_the_kernels(change):
    rows = Text([[4], [30], [20]]).rows(128, packing="segments", objectives=ONLY[TOKEN])
    style = style_of(SHARED_PAD.by_role(), SpanSettings(), 128, "segments")
    found = taken_apart(rows, style)
    change(found)
    with pytest.raises(ShardCorruptError, match="do not lie in its text"):
        mask_again(found, np.ones(len(found.size), np.int64), span_rules(SpanSettings()), style, SEED)
