"""MixedStream: shares exact over a short period, every build in its own order, one arithmetic for all ranks."""

import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import SPECIAL, write_build

from glmdata.balance import take_turns
from glmdata.errors import ConfigError, FingerprintMismatchError, ShardError
from glmdata.shards.manifest import Manifest
from glmdata.streaming.order import Window, rows_at, seed_of_source
from glmdata.streaming.turns import MAX_PERIOD, Turns, counts_of, take_turns_evenly

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")

ROWS = (100, 37, 10)
WEIGHTS = (5, 3, 2)


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Builds of 100, 37 and 10 rows."""
    folder = tmp_path_factory.mktemp("mix")
    for rows in ROWS:
        write_build(folder / str(rows), rows=rows)
    return [folder / str(rows) for rows in ROWS]


def mixed(builds, batch_size, **options):
    from glmdata.streaming import MixedStream

    return MixedStream(list(zip(builds, WEIGHTS, strict=True)), batch_size, **options)


def take(stream, batches):
    iterator = iter(stream)
    return [next(iterator) for _ in range(batches)]


def seen(batches):
    """(source, row) of every sample."""
    return [
        (int(source), (int(name) - 7) // 10)
        for batch in batches
        for source, name in zip(batch["source"], batch["sample_id"], strict=True)
    ]


def expected(count, seed, start=0):
    """The same, counted along: the table over and over, each build's stream drawn from as its turn comes."""
    table = take_turns_evenly(WEIGHTS)
    given, order = [0, 0, 0], []
    for position in range(start + count):
        source = table[position % len(table)]
        order.append((source, given[source]))
        given[source] += 1
    return [
        (source, int(rows_at([place], seed=seed_of_source(seed, source), size=ROWS[source])[0]))
        for source, place in order[start:]
    ]


# ---------------------------------------------------------------- turns


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_no_source_is_ever_a_whole_turn_off_its_share(counts):
    table = take_turns_evenly(counts)

    assert np.bincount(table, minlength=len(counts)).tolist() == counts
    given_so_far = np.cumsum(np.array(table)[:, None] == np.arange(len(counts)), axis=0)
    ideal = np.arange(1, len(table) + 1)[:, None] * np.array(counts) / len(table)
    assert np.abs(given_so_far - ideal).max() < 1


@given(counts=st.lists(st.integers(1, 30), min_size=3, max_size=6))
def test_builds_interleave_by_the_same_rule(counts):
    languages, _ = take_turns([np.ones(count, np.int32) for count in counts])

    assert take_turns_evenly(counts) == languages.tolist()


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=4), position=st.integers(0, 1 << 40))
def test_places_are_counted_without_counting(counts, position):
    turns = Turns.by_weight(counts)
    positions = np.arange(position, position + 60)
    sources, inner = turns.at(positions)
    before = turns.taken(position)

    for place, source in enumerate(sources.tolist()):
        assert inner[place] == before[source]
        before[source] += 1
    assert before == turns.taken(position + 60)


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ([1], [1]), ([5, 5], [1, 1]), ([0.7, 0.3], [7, 3]), ([70, 20, 10], [7, 2, 1]), ([1 / 3, 2 / 3], [1, 2]),
        ([0.142857, 0.857143], [1, 6]), ([Fraction(1, 6), 0.5], [1, 3]), ([np.float64(0.25), np.int64(1)], [1, 4]),
        ([1e6, 3e6], [1, 3]), ([1e-6, 3e-6], [1, 3]), ([0.6667, 0.3333], [6667, 3333]),
    ],
)  # fmt: skip
def test_weights_become_the_smallest_whole_numbers(weights, counts):
    assert counts_of(weights) == counts


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), True, None, "much"])
def test_weights_that_are_none_are_refused(weight):
    with pytest.raises(ConfigError, match="weights must be numbers above 0"):
        counts_of([1, weight])


def test_a_long_period_is_refused():
    with pytest.raises(ConfigError, match=f"repeat after 1,000,001 samples, at most {MAX_PERIOD:,}"):
        counts_of([1_000_000, 1])


def test_no_builds_are_refused():
    from glmdata.streaming import MixedStream

    with pytest.raises(ConfigError, match="at least one build"):
        MixedStream([], 4)


# ---------------------------------------------------------------- the stream


def test_every_build_comes_by_its_share_in_its_own_order(builds):
    batches = take(mixed(builds, 7, seed=3), 60)

    assert seen(batches) == expected(420, 3)
    assert batches[0]["source"].dtype == torch.int64


def test_batches_hold_the_rows_of_their_builds(builds):
    from glmdata.streaming import ShardStream

    whole = [next(iter(ShardStream(path, rows, shuffle=False))) for path, rows in zip(builds, ROWS, strict=True)]
    for batch in take(mixed(builds, 9, seed=3), 20):
        assert batch.keys() == whole[0].keys() | {"source"}
        for place, (source, row) in enumerate(seen([batch])):
            assert all(torch.equal(batch[name][place], tensor[row]) for name, tensor in whole[source].items())


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6])
def test_the_order_does_not_depend_on_the_world(builds, world):
    streams = [mixed(builds, 12 // world, seed=3, dp_rank=rank, dp_world=world) for rank in range(world)]
    steps = zip(*(take(stream, 15) for stream in streams), strict=True)

    assert [pair for step in steps for pair in seen(step)] == expected(180, 3)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, "fork"), (2, "spawn")])
def test_the_order_does_not_depend_on_workers(builds, workers, start):
    stream = mixed(builds, 9, seed=3, samples=200)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context=start)

    assert seen(loader)[:200] == expected(200, 3)


def test_a_state_goes_on_anywhere_with_another_batch_size(builds):
    stream = mixed(builds, 8, seed=3)
    take(stream, 5)
    state = json.loads(json.dumps(stream.state_dict()))
    other = mixed(builds, 13, seed=3)
    other.load_state_dict(state)

    assert seen(take(other, 4)) == expected(52, 3, start=40)
    other.load_state_dict(state | {"samples_consumed": 10**15})
    assert len(take(other, 1)[0]["source"]) == 13


def test_a_finite_mix_ends_and_weighs_repeats_nothing(builds):
    streams = [mixed(builds, 8, seed=3, samples=100, dp_rank=rank, dp_world=2) for rank in range(2)]
    ranks = [list(stream) for stream in streams]
    plan = streams[0].plan()
    flat = [float(mass) for step in zip(*ranks, strict=True) for batch in step for mass in batch["loss_mask"].sum(1)]

    assert [len(batches) for batches in ranks] == [plan["steps"]] * 2 == [7, 7]
    assert min(flat[:100]) > 0
    assert flat[100:] == [0.0] * plan["padded_rows"]
    assert streams[0].state_dict()["samples_consumed"] == 100
    assert next(iter(streams[0]))["sample_id"].tolist() == ranks[0][0]["sample_id"].tolist()


def test_the_plan_tells_shares_and_epochs(builds):
    stream = mixed(builds, 10, seed=3)
    take(stream, 20)
    plan = stream.plan()

    assert plan["period"] == 10
    assert [source["share"] for source in plan["sources"]] == [0.5, 0.3, 0.2]
    assert [source["epochs"] for source in plan["sources"]] == [100 / 100, 60 / 37, 40 / 10]
    assert [source["path"] for source in plan["sources"]] == [str(path) for path in builds]


def test_one_build_twice_has_two_orders(builds):
    from glmdata.streaming import MixedStream

    pairs = seen(take(MixedStream([(builds[0], 1), (builds[0], 1)], 100), 2))

    first, second = ([row for source, row in pairs if source == number] for number in (0, 1))
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second


def test_a_mapping_and_windows_are_taken(builds):
    from glmdata.streaming import MixedStream

    window = Window(8, 2)
    stream = MixedStream({str(builds[0]): 0.5, str(builds[1]): 0.5}, 20, window=window)
    rows = [row for source, row in seen(take(stream, 10)) if source == 0]

    assert rows == rows_at(np.arange(100), seed=seed_of_source(0, 0), size=100, window=window).tolist()
    assert stream.state_dict()["sources"][0]["window"] == [8, 2]


def test_a_mix_pickles_small(builds):
    stream = mixed(builds, 9, seed=3)
    take(stream, 3)

    assert len(pickle.dumps(stream)) < 40_000
    assert seen(take(pickle.loads(pickle.dumps(stream)), 1)) == seen(take(stream, 1))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        (lambda state: state["sources"].reverse(), FingerprintMismatchError, "belongs to a mix of builds"),
        (lambda state: state["sources"].pop(), FingerprintMismatchError, "belongs to a mix of builds"),
        (lambda state: state["sources"][0].update(turns=4), ConfigError, "sources="),
        (lambda state: state.update(sources=3), ConfigError, "not the state of a MixedStream"),
        (lambda state: state.pop("sources"), ConfigError, "it lacks sources"),
        (lambda state: state.update(seed=4), ConfigError, "seed=4"),
        (lambda state: state.update(order_version=2), ConfigError, "order version 2"),
        (lambda state: state.update(samples_consumed=-1), ConfigError, "samples_consumed"),
    ],
)
def test_states_that_do_not_fit_are_refused(builds, change, error, word):
    stream = mixed(builds, 9, seed=3)
    state = json.loads(json.dumps(stream.state_dict()))
    change(state)

    with pytest.raises(error, match=word):
        stream.load_state_dict(state)


def test_builds_that_do_not_go_together_are_refused(builds, tmp_path):
    from glmdata.streaming import MixedStream

    write_build(tmp_path / "long", rows=10, length=40)
    write_build(tmp_path / "other", rows=10)
    manifest = Manifest.load(tmp_path / "other")
    tokenizer = manifest.tokenizer.model_copy(
        update={"hash": "f" * 16, "special_tokens": {**SPECIAL, "sop": 296, "eop": 295}}
    )
    text = manifest.model_copy(update={"tokenizer": tokenizer}).dumps()
    (tmp_path / "other/manifest.json").write_text(text, "utf-8")

    with pytest.raises(ConfigError, match=r"cannot be mixed: sequence_length 32 and 40; build them with one tokenizer"):
        MixedStream([(builds[0], 1), (tmp_path / "long", 1)], 4)
    with pytest.raises(ConfigError, match=r"cannot be mixed: tokenizer 0123456789abcdef and f+; special tokens"):
        MixedStream([(builds[0], 1), (tmp_path / "other", 1)], 4)


@pytest.mark.parametrize("entries", [["here"], [("here", 1, 2)], {"nowhere": 1}])
def test_what_is_no_build_is_refused(entries):
    from glmdata.streaming import MixedStream

    with pytest.raises((ConfigError, ShardError), match=r"pairs of a path and a weight|holds no finished build"):
        MixedStream(entries, 4)
