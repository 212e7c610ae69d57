"""What is masked: lengths, places, and the three objectives, each against a plain-Python reading of the rules."""

import itertools
import json
import math

import numpy as np
import pytest
from corpora import SHARED
from hypothesis import given
from hypothesis import strategies as st

from glmdata.infilling.spans import (
    LONGEST_SPAN,
    document_span,
    draw_lengths,
    length_distribution,
    place_spans,
    sentence_spans,
    shuffle_order,
    span_keys,
    span_rules,
    token_spans,
)
from glmdata.randomness import draw_below, draw_key, draw_unit
from glmdata.recipe import SpanSettings

KEYS = st.integers(0, 2**64 - 1).map(np.uint64)


def runs_of(sizes):
    """Runs of a row [cls] text eos [cls] text eos ..."""
    rows, place, offset = [], 1, 0
    for size in sizes:
        rows.append((place, place + size, offset))
        place, offset = place + size + 2, offset + size
    return np.array(rows, np.int64)


def pieces_of(sizes):
    """The same as adjacent [start, end), such as the sentences of one document."""
    ends = np.cumsum(sizes) + 1
    return np.stack([ends - sizes, ends], 1).astype(np.int64)


def budget(ratio, size):
    return max(1, int(ratio * size))


def test_golden_span_places_of_the_original_are_reproduced():
    path = SHARED / "golden" / "data_sample_spans.json"
    if not path.exists():
        pytest.skip(f"no golden vectors at {path}")
    cases = json.loads(path.read_text("utf-8"))["cases"]
    for case in cases:
        got = place_spans(case["span_lengths"], case["sorted_places"], case["offset"])

        assert got.tolist() == case["spans"], case["id"]
    assert len(cases) == 60


def test_span_lengths_are_poisson_without_zero():
    for mean in (0.5, 3.0, 12.0):
        weights = [math.exp(-mean) * mean**n / math.factorial(n) for n in range(1, LONGEST_SPAN + 1)]
        got = np.diff(length_distribution(mean), prepend=0)

        assert np.allclose(got, np.array(weights) / sum(weights), atol=1e-12)
        assert length_distribution(mean)[-1] == 1.0
    assert np.diff(length_distribution(3.0), prepend=0) @ np.arange(1, 40) == pytest.approx(3.157, abs=1e-3)


@given(KEYS, st.integers(16, 600), st.sampled_from([0.01, 0.15, 0.5, 0.9]), st.sampled_from([1e-6, 3.0, 20.0]))
def test_the_capacity_is_the_largest_size_whose_spans_fit(key, length, ratio, mean):
    rules = span_rules(SpanSettings(mask_ratio=ratio, length_lambda=mean))
    lengths = np.zeros(length, np.int64)

    count, capacity = draw_lengths(key, rules, length, lengths)

    table = length_distribution(mean)
    drawn = [1 + sum(bool(bound <= draw_unit(key, i)) for bound in table[:-1]) for i in range(count)]
    assert lengths[:count].tolist() == drawn
    sums = np.cumsum([0, *drawn])

    def after_masking(size):
        enough = np.flatnonzero(sums >= budget(ratio, size))
        return size + 2 * int(enough[0]) if len(enough) else length + 1

    assert capacity >= 3
    assert [size for size in range(1, length + 1) if after_masking(size) <= length] == list(range(1, capacity + 1))


@given(
    KEYS,
    st.lists(st.integers(1, LONGEST_SPAN), min_size=1, max_size=30),
    st.lists(st.integers(1, 60), min_size=1, max_size=30),
)
def test_token_spans_stay_in_their_documents_and_lose_only_what_cannot_be_placed(key, wanted, sizes):
    runs, spans = runs_of(sizes), np.zeros((len(wanted), 2), np.int64)

    count, lost = token_spans(key, np.array(wanted, np.int64), runs, spans)

    placed = spans[:count].tolist()
    assert count >= 1
    assert sum(end - start for start, end in placed) + lost == sum(wanted)
    room = []
    for start, end, _ in runs.tolist():
        inside = [span for span in placed if start <= span[0] < end]
        assert all(a[1] < b[0] for a, b in itertools.pairwise(inside))
        assert not inside or inside[-1][1] <= end
        room.append(end - start - sum(b - a + 1 for a, b in inside))
    assert sum(any(a <= s < b for a, b, _ in runs.tolist()) for s, _ in placed) == count
    lengths = sorted(end - start for start, end in placed)
    if lost == 0:
        assert lengths == sorted(wanted)
    elif count < len(wanted):
        assert max(room) <= 0  # spans were left out only as nothing more fits anywhere


@given(KEYS, st.lists(st.integers(1, LONGEST_SPAN), min_size=1, max_size=20), st.integers(0, 50))
def test_in_one_document_token_spans_lie_as_the_sorted_draws_say(key, lengths, spare):
    size = sum(lengths) + len(lengths) - 1 + spare
    spans = np.zeros((len(lengths), 2), np.int64)

    token_spans(key, np.array(lengths, np.int64), runs_of([size]), spans)

    draws = sorted(int(draw_below(key, 2 * k + 1, spare + 1)) for k in range(len(lengths)))
    assert spans.tolist() == place_spans(lengths, draws, 1).tolist()


@given(KEYS, st.integers(0, 200))
def test_an_order_is_a_permutation_that_grows_with_its_size(key, size):
    order, longer = np.empty(size, np.int64), np.empty(size + 1, np.int64)
    shuffle_order(key, order)
    shuffle_order(key, longer)

    assert sorted(order.tolist()) == list(range(size))
    assert (order != longer[:-1]).sum() <= 1


@given(KEYS, st.lists(st.integers(1, 40), min_size=2, max_size=40), st.sampled_from([0.05, 0.15, 0.9]))
def test_sentences_are_taken_whole_until_the_ratio_and_one_stays_visible(key, sizes, ratio):
    sentences, size = pieces_of(sizes), sum(sizes) + 2
    spans, order = np.zeros_like(sentences), np.empty(len(sizes), np.int64)

    count, lost = sentence_spans(key, sentences, size, span_rules(SpanSettings(sentence_ratio=ratio)), spans)

    shuffle_order(key, order)
    chosen, masked = [], 0
    for sentence in order[:-1].tolist():
        if masked >= budget(ratio, size):
            break
        chosen.append(sentence)
        masked += sizes[sentence]
    assert spans[:count].tolist() == sentences[sorted(chosen)].tolist()
    assert lost == max(0, budget(ratio, size) - masked)


@given(KEYS, st.integers(1, 500))
def test_a_row_of_one_sentence_keeps_half_of_it(key, size):
    spans = np.zeros((1, 2), np.int64)

    count, lost = sentence_spans(key, pieces_of([size]), size + 2, span_rules(SpanSettings()), spans)

    length = spans[0, 1] - spans[0, 0]
    assert count == 1
    assert length == max(1, min(budget(0.15, size + 2), size // 2))
    assert 1 <= spans[0, 0] < spans[0, 1] <= size + 1
    assert lost == size - length


@given(KEYS, st.lists(st.integers(1, 99), min_size=1, max_size=9), st.sampled_from([0.0, 1.0]), st.floats(0.01, 1))
def test_the_document_span_lies_in_the_longest_document(key, sizes, infill, least):
    runs, spans = runs_of(sizes), np.zeros((1, 2), np.int64)

    rules = span_rules(SpanSettings(document_min_ratio=least, document_infill=infill))
    closed = document_span(key, runs, sum(sizes) + 2 * len(sizes), rules, spans)

    assert closed

    longest = max(sizes)
    start, end, _ = runs[sizes.index(longest)].tolist()
    assert start <= spans[0, 0] < spans[0, 1] <= end
    assert math.ceil(least * longest) <= spans[0, 1] - spans[0, 0] <= longest
    assert infill == 1.0 or spans[0, 1] == end


def test_document_lengths_and_places_are_uniform():
    key, spans, runs = span_keys(5).places, np.zeros((1, 2), np.int64), runs_of([40])
    rules = span_rules(SpanSettings(document_min_ratio=0.25, document_infill=0.5))
    lengths, suffixes = np.zeros(41, np.int64), 0
    for sample in range(6200):
        document_span(np.uint64(draw_key(key, np.uint64(sample))), runs, 42, rules, spans)
        length = spans[0, 1] - spans[0, 0]
        lengths[length] += 1
        suffixes += spans[0, 1] == 41

    assert lengths[:10].sum() == 0
    assert lengths[10:].min() > 140  # 200 of each length from 10 to 40, give or take 14
    # Half are suffixes; of the others one in 41 - length ends there as well.
    expected = 0.5 + 0.5 * np.mean([1 / (41 - length) for length in range(10, 41)])
    assert suffixes / 6200 == pytest.approx(expected, abs=0.03)


def test_purposes_and_seeds_have_keys_of_their_own():
    keys = [key for seed in (0, 1, 2**63 - 1) for key in span_keys(seed)]

    assert len(set(map(int, keys))) == len(keys) == 18
