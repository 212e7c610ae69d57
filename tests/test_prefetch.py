"""Batches made ahead by a thread: the same order, state and errors, and a thread that always ends."""

import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from streams import numbers, stream_of, take
from synthetic import write_build

from glmdata.errors import ConfigError, ShardCorruptError
from glmdata.streaming.order import rows_at

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")

from glmdata.streaming.ahead import Ahead  # noqa: E402

ROWS = 100
NAME = "glmdata-batches"


def running():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


@pytest.mark.parametrize("prefetch", [0, 1, 2, 3, 50, None])
def test_batches_and_states_do_not_depend_on_what_is_made_ahead(build, prefetch):
    stream = stream_of(build, 7, seed=3, epochs=2, prefetch=prefetch)
    states, found = [], []
    for batch in stream:
        found.append(batch)
        states.append(stream.state_dict()["samples_consumed"])

    assert numbers(found)[: 2 * ROWS] == rows_at(np.arange(2 * ROWS), seed=3, size=ROWS).tolist()
    assert states == [*range(7, 2 * ROWS, 7), 2 * ROWS]
    assert running() == []


def test_a_state_counts_what_was_taken_not_what_lies_ready(build):
    stream = stream_of(build, 5, seed=3, prefetch=8)
    first = take(stream, 3)
    resumed = stream_of(build, 5, seed=3, prefetch=8)
    resumed.load_state_dict(stream.state_dict())

    assert stream.state_dict()["samples_consumed"] == 15
    assert numbers(first + take(resumed, 4)) == rows_at(np.arange(35), seed=3, size=ROWS).tolist()


def test_the_thread_lives_as_long_as_the_iteration(build):
    stream = stream_of(build, 5)
    assert running() == []
    for _ in stream:
        assert len(running()) == 1
        break
    assert running() == []
    iterator = iter(stream)
    next(iterator)
    del iterator
    assert running() == []


def test_an_iterator_in_a_circle_ends_its_thread_when_it_is_collected(build):
    circle = [iter(stream_of(build, 5))]
    next(circle[0])
    circle.append(circle)
    assert len(running()) == 1
    del circle
    gc.collect()
    assert running() == []


def test_no_thread_where_none_was_asked_for(build):
    iterator = iter(stream_of(build, 5, prefetch=0))
    next(iterator)
    assert running() == []


def test_damage_comes_after_the_good_batches_and_is_named(tmp_path):
    write_build(tmp_path / "b")
    victim = tmp_path / "b/shards/part-00001-of-00003.arrow"
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 4
    victim.write_bytes(data)
    good = {}
    for prefetch in (0, 4):
        stream, found = stream_of(tmp_path / "b", 4, shuffle=False, epochs=1, prefetch=prefetch), []
        with pytest.raises(ShardCorruptError, match=rf"{victim.name}: record batch \d+ \(rows"):
            found.extend(iter(stream))
        good[prefetch] = numbers(found)
        assert stream.state_dict()["samples_consumed"] == len(good[prefetch]) >= 40
        assert running() == []
    assert good[0] == good[4]


class Items:
    """Numbers 0 to 5, then an error; knows by which threads they were made."""

    def __init__(self, full_at=None):
        self.makers, self.full, self.full_at = [], threading.Event(), full_at

    def __iter__(self):
        for number in range(6):
            self.makers.append(threading.current_thread().name)
            if number == self.full_at:
                self.full.set()
            yield number
        raise KeyError("six")


def test_while_the_consumer_is_away_items_lie_ready_up_to_the_count():
    items = Items(full_at=4)
    ahead = Ahead(iter(items), 3)
    found = [next(ahead)]
    time.sleep(0.1)
    found.append(next(ahead))
    assert items.full.wait(10)
    assert len(items.makers) == 5
    assert items.makers[2:] == [NAME] * 3
    found += [next(ahead) for _ in range(4)]
    assert found == list(range(6))
    with pytest.raises(KeyError, match="six"):
        next(ahead)
    assert list(ahead) == []
    ahead.close()


def test_who_merely_reads_makes_the_items_itself():
    class Slow(Items):
        def __iter__(self):
            for number in super().__iter__():
                time.sleep(0.05)
                yield number

    items = Slow()
    ahead = Ahead(iter(items), 3)
    assert [next(ahead) for _ in range(6)] == list(range(6))
    with pytest.raises(KeyError, match="six"):
        next(ahead)
    assert NAME not in items.makers
    assert list(Ahead(iter(()), 3)) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_is_told_and_ends(build):
    """The parent's thread is not there: taking is refused, dropping and iterating anew work."""
    stream = stream_of(build, 5, seed=3)
    iterator = iter(stream)
    next(iterator)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            next(iterator)
        except RuntimeError:
            del iterator
            code = 0 if numbers([next(iter(stream))]) == rows_at(np.arange(5, 10), seed=3, size=ROWS).tolist() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert numbers([next(iterator)]) == rows_at(np.arange(5, 10), seed=3, size=ROWS).tolist()


def test_workers_start_no_thread_unless_asked(build):
    class Counting(torch.utils.data.IterableDataset):
        def __init__(self, **options):
            self.stream = stream_of(build, 10, seed=3, epochs=1, **options)

        def __iter__(self):
            for batch in self.stream:
                yield numbers([batch]), len(running())

    for options, threads in (({}, 0), ({"prefetch": 2}, 1)):
        loader = torch.utils.data.DataLoader(
            Counting(**options), batch_size=None, num_workers=1, multiprocessing_context="fork"
        )
        found = list(loader)
        assert [row for rows, _ in found for row in rows] == rows_at(np.arange(ROWS), seed=3, size=ROWS).tolist()
        assert found[0][1] == threads


LEAVE = """
import sys
from glmdata.streaming import ShardStream
iterator = iter(ShardStream(sys.argv[1], 5))
next(iterator)
if sys.argv[2] == "raise":
    raise SystemExit(3)
print("left")
"""


@pytest.mark.parametrize(("how", "code"), [("end", 0), ("raise", 3)])
def test_an_interpreter_ends_in_the_middle_of_a_stream(build, how, code):
    done = subprocess.run(
        [sys.executable, "-c", LEAVE, build, how], capture_output=True, text=True, timeout=120, check=False
    )

    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("prefetch", [-1, 1.5, True, "2"])
def test_what_is_no_number_of_batches_is_refused(build, prefetch):
    with pytest.raises(ConfigError, match="prefetch must be an integer"):
        stream_of(build, 4, prefetch=prefetch)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_pinning_without_cuda_is_refused_and_left_out_by_default(build):
    with pytest.raises(ConfigError, match="pin_memory=True needs CUDA"):
        stream_of(build, 4, pin_memory=True)
    (batch,) = take(stream_of(build, 4), 1)
    assert not any(tensor.is_pinned() for tensor in batch.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_batches_are_pinned_where_cuda_is(build):
    pinned, plain = (take(stream_of(build, 4, pin_memory=wish), 3) for wish in (None, False))
    for one, other in zip(pinned, plain, strict=True):
        assert all(tensor.is_pinned() for tensor in one.values())
        assert not any(tensor.is_pinned() for tensor in other.values())
        assert all(torch.equal(one[name], other[name]) for name in other)
