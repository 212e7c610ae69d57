"""ShardStream: one order for every world and number of workers, nothing lost or doubled, resumed anywhere at once."""

import json
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from streams import numbers, stream_of, take
from synthetic import LENGTH, random_row, write_build

from glmdata.errors import ConfigError, FingerprintMismatchError, ShardCorruptError, ShardError
from glmdata.streaming.order import rows_at

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")
steps_module = pytest.importorskip("glmdata.streaming.steps")

ROWS = 100
WORLDS = (1, 2, 3, 4, 6, 8)
GLOBAL = 24


def interleaved(build, world, steps, state=None, **options):
    """The global order: each step's slices in the order of the ranks."""
    ranks = []
    for rank in range(world):
        stream = stream_of(build, GLOBAL // world, dp_rank=rank, dp_world=world, **options)
        if state is not None:
            stream.load_state_dict(state)
        ranks.append(take(stream, steps))
    return [number for step in zip(*ranks, strict=True) for number in numbers(step)]


def test_batches_hold_the_rows_of_the_build(build):
    for batch in take(stream_of(build, 7, seed=3), 30):
        shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
        assert shapes == {
            "input_ids": (7, LENGTH), "target_ids": (7, LENGTH), "loss_mask": (7, LENGTH),
            "position_ids": (7, 2, LENGTH), "context_length": (7,), "sample_id": (7,),
            "objective": (7,), "language": (7,),
        }  # fmt: skip
        for place, number in enumerate(numbers([batch])):
            row = random_row(number)
            for name in ("input_ids", "target_ids", "loss_mask", "context_length"):
                assert batch[name][place].tolist() == row[name]
            assert batch["position_ids"][place].tolist() == [row["position_ids"], row["block_position_ids"]]


def test_dtypes_are_what_embeddings_and_losses_take(build):
    (batch,) = take(stream_of(build, 4), 1)

    assert batch.pop("loss_mask").dtype == torch.float32
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
    assert all(tensor.is_contiguous() for tensor in batch.values())


@pytest.mark.parametrize("world", WORLDS)
def test_d8_the_order_does_not_depend_on_the_world(build, world):
    assert interleaved(build, world, 12, seed=7) == rows_at(np.arange(12 * GLOBAL), seed=7, size=ROWS).tolist()


def test_d8_every_epoch_has_every_sample_once(build):
    order = numbers(take(stream_of(build, 30, seed=1), 10))

    epochs = [order[start : start + ROWS] for start in (0, ROWS, 2 * ROWS)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(ROWS))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    assert numbers(take(stream_of(build, 30, seed=2), 3)) != order[:90]


def test_unshuffled_epochs_are_in_the_order_of_the_shards(build):
    assert numbers(take(stream_of(build, 40, shuffle=False), 5)) == [*range(ROWS)] * 2


@pytest.mark.parametrize(("epochs", "batch_size", "world"), [(1, 7, 1), (1, 7, 3), (2, 5, 4), (3, 50, 1), (1, 300, 2)])
def test_a_finite_stream_ends_on_all_ranks_alike_and_weighs_repeats_nothing(build, epochs, batch_size, world):
    streams = [stream_of(build, batch_size, seed=5, dp_rank=r, dp_world=world, epochs=epochs) for r in range(world)]
    ranks = [list(stream) for stream in streams]
    plan = streams[0].plan()

    assert {len(batches) for batches in ranks} == {plan["steps"]} == {-(-epochs * ROWS // (batch_size * world))}
    flat = [(n, float(m)) for step in zip(*ranks, strict=True) for b in step
            for n, m in zip(numbers([b]), b["loss_mask"].sum(1), strict=True)]  # fmt: skip
    real, padded = flat[: epochs * ROWS], flat[epochs * ROWS :]
    assert [n for n, _ in real] == rows_at(np.arange(epochs * ROWS), seed=5, size=ROWS).tolist()
    assert all(mass == sum(random_row(n)["loss_mask"]) for n, mass in real)
    assert [mass for _, mass in padded] == [0] * plan["padded_rows"]
    assert {stream.state_dict()["samples_consumed"] for stream in streams} == {epochs * ROWS}


def test_a_finite_stream_read_to_its_end_begins_again(build):
    stream = stream_of(build, 16, seed=5, epochs=1)

    assert numbers(stream) == numbers(stream)


def test_iterating_again_goes_on_where_the_stream_stands(build):
    stream = stream_of(build, 10, seed=5)

    parts = numbers(take(stream, 3)) + numbers(take(stream, 4))

    assert parts == rows_at(np.arange(70), seed=5, size=ROWS).tolist()


def test_blocks_of_positions_join_without_a_seam(build, monkeypatch):
    wanted = numbers(take(stream_of(build, 3, seed=2), 50))
    for block in (1, 7, 20):
        monkeypatch.setattr(steps_module, "ORDER_BLOCK", block)
        assert numbers(take(stream_of(build, 3, seed=2), 50)) == wanted


# ---------------------------------------------------------------- state


def test_d8_a_run_resumes_from_any_step_onto_any_world(build):
    rng = random.Random(5)
    for step in [0, 1, *(rng.randrange(2, 60) for _ in range(8))]:
        stream = stream_of(build, GLOBAL, seed=7)
        iterator = iter(stream)
        for _ in range(step):
            next(iterator)
        state = json.loads(json.dumps(stream.state_dict()))
        wanted = numbers(next(iterator) for _ in range(3))

        assert interleaved(build, rng.choice(WORLDS), 3, state, seed=7) == wanted


def test_a_state_serves_another_batch_size(build):
    stream = stream_of(build, 9, seed=7)
    take(stream, 5)
    other = stream_of(build, 4, seed=7, dp_rank=0, dp_world=1)
    other.load_state_dict(stream.state_dict())

    assert numbers(take(other, 3)) == rows_at(np.arange(45, 57), seed=7, size=ROWS).tolist()


def test_far_ahead_is_as_near_as_the_start(build):
    stream = stream_of(build, 4, seed=7)
    stream.load_state_dict(stream.state_dict() | {"samples_consumed": 10**15 + 3})

    assert numbers(take(stream, 1)) == rows_at(np.arange(10**15 + 3, 10**15 + 7), seed=7, size=ROWS).tolist()


def test_a_finished_state_has_nothing_left(build):
    stream = stream_of(build, 16, epochs=1)
    list(stream)
    resumed = stream_of(build, 16, epochs=1)
    resumed.load_state_dict(stream.state_dict())

    assert list(resumed) == []


def test_the_state_is_small_and_names_the_build(build):
    state = stream_of(build, 16, seed=3).state_dict()

    assert len(json.dumps(state)) < 300
    assert state["fingerprint"] == json.loads((build / "manifest.json").read_text())["fingerprint"]
    assert state["order_version"] == 1


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"fingerprint": "0" * 32}, FingerprintMismatchError, "belongs to build 0000"),
        ({"order_version": 2}, ConfigError, "order version 2"),
        ({"seed": 4}, ConfigError, "seed=4"),
        ({"shuffle": False}, ConfigError, "shuffle=False"),
        ({"samples_consumed": -1}, ConfigError, "samples_consumed"),
        ({"samples_consumed": 1.5}, ConfigError, "samples_consumed"),
        ({"samples_consumed": True}, ConfigError, "samples_consumed"),
    ],
)
def test_states_that_do_not_fit_are_refused(build, change, error, word):
    stream = stream_of(build, 16, seed=3)
    with pytest.raises(error, match=word):
        stream.load_state_dict(stream.state_dict() | change)

    assert stream.state_dict()["samples_consumed"] == 0


@pytest.mark.parametrize("state", [{}, {"seed": 0}, None, []])
def test_what_is_no_state_is_refused(build, state):
    with pytest.raises(ConfigError, match="not the state of a ShardStream"):
        stream_of(build, 16).load_state_dict(state)


# ---------------------------------------------------------------- workers


MANY_WORKERS = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than this machine has cores


@MANY_WORKERS
@pytest.mark.parametrize(("workers", "start"), [(0, None), (1, "fork"), (2, "fork"), (3, "fork"), (2, "spawn")])
def test_d8_the_order_does_not_depend_on_workers(build, workers, start):
    stream = stream_of(build, 9, seed=7, dp_rank=1, dp_world=2, epochs=2)
    wanted = numbers(stream_of(build, 9, seed=7, dp_rank=1, dp_world=2, epochs=2))
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context=start)

    assert numbers(loader) == wanted


@MANY_WORKERS
def test_a_loader_with_workers_resumes_by_counted_batches(build):
    """The way the class documents."""
    stream = stream_of(build, 9, seed=7)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="fork")
    first = take(loader, 5)
    state = stream.state_dict()
    state["samples_consumed"] += 5 * 9
    resumed = stream_of(build, 9, seed=7)
    resumed.load_state_dict(state)
    loader = torch.utils.data.DataLoader(resumed, batch_size=None, num_workers=3, multiprocessing_context="fork")

    assert numbers(first) + numbers(take(loader, 4)) == rows_at(np.arange(81), seed=7, size=ROWS).tolist()


def test_workers_that_stay_alive_begin_again_together(build):
    stream = stream_of(build, 9, seed=7, epochs=1)
    loader = torch.utils.data.DataLoader(
        stream, batch_size=None, num_workers=2, multiprocessing_context="fork", persistent_workers=True
    )
    first = numbers(take(loader, 3))

    assert numbers(loader) == numbers(loader) == numbers(stream)
    assert first == rows_at(np.arange(27), seed=7, size=ROWS).tolist()


def test_a_stream_pickles_small_after_use(build):
    stream = stream_of(build, 9, seed=7)
    take(stream, 3)

    again = pickle.loads(pickle.dumps(stream))

    assert len(pickle.dumps(stream)) < 20_000
    assert numbers(take(again, 1)) == numbers(take(stream, 1))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"batch_size": 2.5}, {"batch_size": True}, {"dp_world": 0}, {"dp_rank": 2, "dp_world": 2},
     {"dp_rank": -1}, {"seed": -1}, {"seed": 1 << 63}, {"seed": "1"}, {"epochs": 0}],
)  # fmt: skip
def test_arguments_outside_their_range_are_refused(build, options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} must be an integer"):
        stream_of(build, **({"batch_size": 4} | options))


def test_numpy_integers_are_taken(build):
    assert stream_of(build, np.int64(4), seed=np.uint32(3)).plan()["global_batch"] == 4


def test_a_build_without_samples_is_refused(tmp_path):
    write_build(tmp_path / "b", rows=0)
    with pytest.raises(ShardError, match="holds no samples"):
        stream_of(tmp_path / "b", 4)


def test_damage_stops_the_stream_and_names_the_shard(tmp_path):
    write_build(tmp_path / "b")
    victim = tmp_path / "b/shards/part-00000-of-00003.arrow"
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 4
    victim.write_bytes(data)

    with pytest.raises(ShardCorruptError, match=victim.name):
        list(stream_of(tmp_path / "b", 9, epochs=1))


def test_only_the_manifest_is_read_before_the_first_batch(tmp_path):
    write_build(tmp_path / "b")
    for path in (tmp_path / "b/shards").iterdir():
        path.unlink()

    stream = stream_of(tmp_path / "b", 9)

    assert stream.plan() == {
        "samples": 100, "sequence_length": LENGTH, "batch_size": 9, "dp_world": 1, "global_batch": 9, "epochs": None,
        "steps_per_epoch": 100 / 9, "steps": None, "padded_rows": None, "samples_consumed": 0, "epoch": 0,
    }  # fmt: skip


IMPORTS = """
import sys
import glmdata.streaming
assert "torch" not in sys.modules and "numba" not in sys.modules
sys.modules["torch"] = None
try:
    from glmdata.streaming import ShardStream
except ImportError as error:
    print(error)
"""


def test_torch_is_imported_late_and_its_absence_explained():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == 'ShardStream needs PyTorch: pip install "glmdata[train]"'
