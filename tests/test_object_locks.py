"""The lock of a prefix in an object store: one owner, whatever dies or falls silent."""

import json
import threading
import time

import pytest

from glmdata.errors import BuildRunningError
from glmdata.pipelines import object_lock
from glmdata.remote import Remote


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GLMDATA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_of_many_that_ask_at_once_one_holds_the_lock(s3, prefix, monkeypatch):
    monkeypatch.setattr(object_lock, "SILENCE_S", 2.0)
    store, holding, held, refused = Remote(f"{prefix}/.build"), list[int](), list[int](), list[str]()
    start = threading.Barrier(6)

    def ask(number):
        start.wait()
        try:
            with object_lock.hold(store, lambda text: None):
                holding.append(number)
                held.append(len(holding))
                time.sleep(0.5)
                holding.remove(number)
        except BuildRunningError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held
    assert set(held) == {1}
    assert len(held) + len(refused) == 6
    assert store.find("lock") == []


def claim(store, **more):
    mine = {"pid": 1, "host": "elsewhere", "machine": "another", "started": "1", "token": "0" * 32, "holds": True}
    Remote(store).write(f"lock/{'0' * 32}.json", json.dumps({**mine, "beat": 3, "broke": [], **more}).encode())


def test_a_silent_owner_on_another_machine_is_followed_after_a_while(s3, prefix, monkeypatch):
    monkeypatch.setattr(object_lock, "SILENCE_S", 0.5)
    claim(prefix)
    told = []
    with object_lock.hold(Remote(prefix), told.append) as lock:
        lock.check(look=True)
        claim(prefix)  # the owner wakes up and writes: that does not drive us out
        lock.check(look=True)
    assert len(told) == 1
    assert "process 1 on elsewhere did not take its leave" in told[0]


def test_an_owner_whose_count_moves_is_left_alone(s3, prefix, monkeypatch):
    monkeypatch.setattr(object_lock, "SILENCE_S", 5.0)
    claim(prefix)
    timer = threading.Timer(0.5, lambda: claim(prefix, beat=4))
    timer.start()
    with (
        pytest.raises(BuildRunningError, match="process 1 on elsewhere is building here"),
        object_lock.hold(Remote(prefix), lambda text: None),
    ):
        pass
    timer.join()


def test_an_owner_that_was_taken_for_dead_stops(s3, prefix):
    with object_lock.hold(Remote(prefix), lambda text: None) as lock:
        [name] = [found.name for found in Remote(prefix).find("lock")]
        Remote(prefix).remove([f"lock/{name}"])
        claim(prefix, broke=[name.removesuffix(".json")])
        with pytest.raises(BuildRunningError, match="process 1 on elsewhere took this build over"):
            lock.check(look=True)
        with pytest.raises(BuildRunningError):
            lock.check()
