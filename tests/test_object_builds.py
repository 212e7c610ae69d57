"""Builds whose corpus, work or output lie in an object store: the bytes of a local build, whatever befalls."""

import concurrent.futures
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest
from building import OPTIONS, SPEED, STAGES, contents, run
from commands import GLMDATA, SMALL, glmdata
from corpora import document, write_corpus, write_jsonl
from faulty_proxy import FaultyProxy, faulty_proxy
from object_store import BUCKET, running_s3, upload
from progress import Stops

from glmdata import remote as remote_module
from glmdata.corpus.files import find_files
from glmdata.corpus.remote_files import RangeReader
from glmdata.errors import BuildExistsError, BuildRunningError, InputError, StorageError, TaskFailedError
from glmdata.pipelines import object_lock
from glmdata.pipelines.engine import Engine, Job
from glmdata.pipelines.folder import BuildFolder
from glmdata.pipelines.local import ThreadExecutor
from glmdata.remote import Remote
from glmdata.shards.verify import verify

from squares import Number, square  # isort: skip


@pytest.fixture(scope="module")
def s3():
    yield from running_s3()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GLMDATA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    (folder / ".hidden.jsonl").write_text('{"text": "no"}\n')
    (folder / "notes.csv").write_text("a,b\n")
    return folder


@pytest.fixture(scope="module")
def uri(s3, corpus):
    return upload(corpus, "corpus")


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory):
    return run(corpus, tmp_path_factory.mktemp("built") / "out")


@pytest.fixture
def out(request):
    """A prefix of the test's own."""
    return f"s3://{BUCKET}/{re.sub(r'[^a-z0-9]+', '-', request.node.name)}"


def objects(place):
    """Every byte of a build but the reports' seconds, as `contents` of a folder."""
    store = Remote(place)
    return {
        found.name: SPEED.sub(b"", store.read(found.name))
        for found in store.find()
        if not found.name.startswith(".build/") and found.name != "report.json"
    }


# ---------------------------------------------------------------- the same bytes


def test_a_corpus_in_a_store_gives_the_bytes_of_the_local_one(uri, built, tmp_path):
    made = run(uri, tmp_path / "out")
    assert contents(made.folder) == contents(built.folder)
    assert made.report["files_not_read"] == {".csv": 1}


@pytest.mark.parametrize("address", ["none", "local"])
def test_a_build_in_a_store_has_the_bytes_of_the_local_one(uri, built, out, address):
    made = run(uri, out, address=address)
    assert made.manifest == built.manifest
    assert objects(out) == contents(built.folder)
    assert {found.name for found in Remote(out).find(".build")} == {"corpus.json", "identity.json"}
    assert list(verify(out)) == []


def test_a_local_corpus_and_a_tokenizer_of_a_store(corpus, built, out, s3):
    upload(built.folder, "earlier")
    made = run(corpus, out, tokenizer_path=f"s3://{BUCKET}/earlier/tokenizer.model")
    assert made.manifest["fingerprint"] == built.manifest["fingerprint"]
    again = run(corpus, out, tokenizer_path=f"s3://{BUCKET}/earlier/tokenizer.model")
    assert again.already_there
    with pytest.raises(InputError, match=r"s3://glmdata-test/earlier/nothing\.model: no such tokenizer"):
        run(corpus, f"{out}-2", tokenizer_path=f"s3://{BUCKET}/earlier/nothing.model")


def test_what_is_large_is_read_in_splits(tmp_path, s3):
    folder = tmp_path / "large"
    zh, en = ([document(code, number, 12) for number in range(250)] for code in ("zh", "en"))
    write_jsonl(folder / "zh.jsonl", zh)
    (folder / "en.txt").write_text("\n\n".join(text.replace("\n", " ") for text in en))
    assert all(path.stat().st_size > 2 * 65536 for path in folder.iterdir())  # the tests' split_bytes
    far = run(upload(folder, "large"), tmp_path / "far")
    assert run(folder, tmp_path / "near").manifest["fingerprint"] == far.manifest["fingerprint"]


@pytest.mark.parametrize(("offset", "size"), [(0, 10), (5, 100), (1 << 20, 5 << 20), ((9 << 20) - 3, 10), (9 << 20, 1)])
def test_ranges_are_those_of_the_file(s3, offset, size):
    data = bytes(range(256)) * (9 << 12)
    Remote(f"s3://{BUCKET}/ranges").write("x", data)
    reader = RangeReader(f"s3://{BUCKET}/ranges/x")
    assert reader.seek(offset) == offset
    assert reader.read(size) == data[offset : offset + size]
    assert reader.read(7) == data[offset + size : offset + size + 7]
    reader.seek(-4, os.SEEK_END)
    assert reader.read() == data[-4:]
    assert reader.read() == b""


def test_names_that_need_escapes_are_found_again(s3):
    names = ["a b.jsonl", "100%.jsonl", "ü/x?y#z.jsonl", "%41.jsonl"]
    for name in names:
        Remote(f"s3://{BUCKET}/odd names").write(name, b'{"text": "x"}\n')
    found = find_files([f"s3://{BUCKET}/odd%20names"]).files
    assert sorted(file.uri for file in found) == sorted(names)
    for file in found:
        assert RangeReader(file.path).read() == b'{"text": "x"}\n'


def test_the_commands_work_on_it(uri, out, cache):
    done = glmdata("build", "--corpus", uri, "--out", out, *SMALL)
    assert done.returncode == 0, done.stderr
    assert f"{out} done, fingerprint" in done.stdout
    again = json.loads(glmdata("build", "--corpus", uri, "--out", out, *SMALL, "--json").stdout)
    assert again["already_there"]
    assert again["out"] == out
    told = glmdata("why", out, "zh/a.jsonl:0")
    assert "zh/a.jsonl:0" in told.stdout
    assert document("zh", 0)[:10] in told.stdout, told.stdout
    page = json.loads(glmdata("report", out, "--json").stdout)
    assert page == {"path": f"{out}/report.html", "bytes": len(Remote(out).read("report.html"))}
    assert glmdata("diff", out, out).returncode == glmdata("inspect", out).returncode == 0


# ---------------------------------------------------------------- stop, go on, begin anew


@pytest.mark.parametrize("stage", ["ingest", "train", "tokenize", "shards"])
def test_a_build_stopped_anywhere_goes_on_to_the_same_bytes(uri, built, out, stage):
    with pytest.raises(KeyboardInterrupt):
        run(uri, out, progress=Stops(stage, "job"))
    with pytest.raises(FileNotFoundError):
        Remote(out).read("manifest.json")
    progress = Stops()
    run(uri, out, progress=progress)
    assert progress.resumed > 0
    assert objects(out) == contents(built.folder)


def test_a_killed_driver_is_followed_at_once(uri, built, out, tmp_path):
    settings = [part for option in OPTIONS for part in ("--set", option)]
    command = [*GLMDATA, "build", "--corpus", uri, "--out", out, *settings, "--address", "none", "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as driver:
        while driver.poll() is None and not Remote(out).find(".build/sign"):
            time.sleep(0.05)
        os.kill(driver.pid, signal.SIGKILL)
    assert BuildFolder(out).place.sizes(["manifest.json"]) == {}, "it was too fast to be killed"
    assert Remote(out).find(".build/lock")
    progress = Stops()
    run(uri, out, progress=progress)
    assert progress.resumed > 0
    assert objects(out) == contents(built.folder)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith("scratch-")]


def test_going_on_fetches_records_not_files(s3, out, cache):
    jobs = [Job(function=square, arguments=Number(value)) for value in range(20)]
    first = Engine(out, ThreadExecutor(2), Stops()).run("squares", jobs)
    shutil.rmtree(cache)
    progress = Stops()
    again = Engine(out, ThreadExecutor(2), progress)
    assert again.run("squares", jobs) == first
    assert progress.resumed == 20
    assert not cache.exists()
    assert again.path(first[3].files["square.txt"]).read_text() == "9"


@pytest.mark.parametrize("damage", ["cut", "remove", "torn record"])
def test_what_is_torn_is_made_again(s3, out, cache, damage):
    jobs = [Job(function=square, arguments=Number(value)) for value in range(3)]
    first = Engine(out, ThreadExecutor(2), Stops()).run("squares", jobs)
    file, store = first[1].files["square.txt"], Remote(out)
    shutil.rmtree(cache)
    if damage == "cut":
        store.write(file.path, b"")
    elif damage == "remove":
        store.remove([file.path])
    else:
        store.write("squares/000001.json", store.read("squares/000001.json")[:-30])
    progress = Stops()
    again = Engine(out, ThreadExecutor(2), progress)
    assert again.path(again.run("squares", jobs)[1].files["square.txt"]).read_text() == "1"
    assert progress.resumed == 2


def test_a_damaged_object_is_never_used_and_made_anew(s3, out, cache):
    job = Job(function=square, arguments=Number(5))
    made = Engine(out, ThreadExecutor(1), Stops()).run("squares", [job])[0].files["square.txt"]
    shutil.rmtree(cache)
    Remote(out).write(made.path, b"52")
    next_job = Job(function=square, arguments=Number(1, made))
    with pytest.raises(StorageError, match=r"damaged in the store, and removed; run the same command again"):
        Engine(out, ThreadExecutor(1), Stops()).run("more", [next_job])
    again = Engine(out, ThreadExecutor(1), Stops())
    renewed = again.run("squares", [job])[0].files["square.txt"]
    assert (renewed.xxh3, renewed.path == made.path) == (made.xxh3, False)


def test_an_object_that_is_not_what_was_written_is_not_published(s3, out):
    made = Engine(f"{out}/.build", ThreadExecutor(1), Stops()).run("s", [Job(function=square, arguments=Number(5))])
    file = made[0].files["square.txt"]
    Remote(f"{out}/.build").write(file.path, b"52")
    with pytest.raises(StorageError, match="not what was written there; run the same command again"):
        BuildFolder(out).publish({"shards/x": file})
    assert Remote(out).find("shards") == []


def test_fresh_removes_what_a_build_wrote_and_nothing_else(uri, built, out):
    run(uri, out)
    Remote(out).write("notes.txt", b"mine")
    Remote(out).write("shards/mine.txt", b"mine")
    with pytest.raises(BuildExistsError, match=r"seed is 7, there it is 1234.*--fresh"):
        run(uri, out, seed=7)
    other = run(uri, out, seed=7, fresh=True)
    assert other.manifest["fingerprint"] != built.manifest["fingerprint"]
    assert Remote(out).read("notes.txt") == Remote(out).read("shards/mine.txt") == b"mine"
    listed = {shard["path"] for shard in other.manifest["shards"]} | set(other.manifest["files"])
    assert set(objects(out)) == listed | {"manifest.json", "report.html", "notes.txt", "shards/mine.txt"}


def test_a_prefix_with_other_objects_is_not_built_into(uri, out):
    Remote(out).write("thesis.tex", b"mine")
    with pytest.raises(BuildExistsError, match=r"holds other files \(thesis\.tex\)"):
        run(uri, out)
    assert [found.name for found in Remote(out).find()] == ["thesis.tex"]


def test_a_corpus_that_changes_while_it_is_read_stops_the_build(corpus, out, s3, tmp_path):
    place = upload(corpus, "changing")

    class Writes(Stops):
        def stage_started(self, stage, jobs, weight):
            if stage == "ingest":
                Remote(place).write("zh/a.jsonl", b'{"text": "new"}\n')

    with pytest.raises(InputError, match=r"zh/a\.jsonl changed while it was read; .*--fresh"):
        run(place, tmp_path / "out", progress=Writes())


# ---------------------------------------------------------------- the lock


def test_two_builds_do_not_share_a_prefix(uri, out):
    with BuildFolder(out).locked(), pytest.raises(BuildRunningError, match=rf"process {os.getpid()} on .* is building"):
        run(uri, out)
    assert Remote(out).find(".build/lock") == []


def test_of_many_that_ask_at_once_one_holds_the_lock(s3, out, monkeypatch):
    monkeypatch.setattr(object_lock, "SILENCE_S", 2.0)
    store, holding, held, refused = Remote(f"{out}/.build"), list[int](), list[int](), list[str]()
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


def test_a_silent_owner_on_another_machine_is_followed_after_a_while(s3, out, monkeypatch):
    monkeypatch.setattr(object_lock, "SILENCE_S", 0.5)
    claim(out)
    told = []
    with object_lock.hold(Remote(out), told.append) as lock:
        lock.check(look=True)
        claim(out)  # the owner wakes up and writes: that does not drive us out
        lock.check(look=True)
    assert len(told) == 1
    assert "process 1 on elsewhere did not take its leave" in told[0]


def test_an_owner_whose_count_moves_is_left_alone(s3, out, monkeypatch):
    monkeypatch.setattr(object_lock, "SILENCE_S", 5.0)
    claim(out)
    timer = threading.Timer(0.5, lambda: claim(out, beat=4))
    timer.start()
    with (
        pytest.raises(BuildRunningError, match="process 1 on elsewhere is building here"),
        object_lock.hold(Remote(out), lambda text: None),
    ):
        pass
    timer.join()


def test_an_owner_that_was_taken_for_dead_stops(s3, out):
    with object_lock.hold(Remote(out), lambda text: None) as lock:
        [name] = [found.name for found in Remote(out).find("lock")]
        Remote(out).remove([f"lock/{name}"])
        claim(out, broke=[name.removesuffix(".json")])
        with pytest.raises(BuildRunningError, match="process 1 on elsewhere took this build over"):
            lock.check(look=True)
        with pytest.raises(BuildRunningError):
            lock.check()


# ---------------------------------------------------------------- faults


@pytest.fixture
def proxy(s3, monkeypatch):
    monkeypatch.setattr(remote_module, "BACKOFF_S", 0.05)
    with faulty_proxy(s3) as proxy:
        yield proxy
        proxy.fault = lambda method, path: ""


def through(proxy: FaultyProxy, place: str) -> str:
    return f"{place}?endpoint_override={proxy.address}&scheme=http"


def test_faults_now_and_then_are_got_over(uri, built, out, proxy):
    count, kinds = itertools.count(), itertools.cycle(["slow down", "error", "cut", "reset"])

    def fault(method, path):
        if next(count) % 12 != 4:
            return ""
        kind = next(kinds)
        return kind if method == "GET" or kind != "cut" else "error"

    proxy.fault = fault
    run(through(proxy, uri), through(proxy, out))
    assert proxy.faults > 10
    assert objects(out) == contents(built.folder)


def test_requests_that_hang_are_made_again(s3, out, proxy):
    hung = iter(["hang"])
    Remote(out).write("x", b"1")
    proxy.fault = lambda method, path: next(hung, "") if method == "GET" else ""
    assert Remote(through(proxy, out)).read("x") == b"1"
    assert proxy.faults == 1


def test_a_store_that_stays_down_stops_the_build_which_goes_on_later(uri, built, out, proxy):
    proxy.fault = lambda method, path: "error" if method == "PUT" and "/.build/tokenize/" in path else ""
    with pytest.raises(StorageError) as told:
        run(uri, through(proxy, out))
    assert re.search(
        rf"{out}/\.build/tokenize/.*cannot be written in 4 attempts over \d+ s: .*; check the network and the "
        "credentials, then run the same command again: finished work is kept",
        str(told.value),
    )
    proxy.fault = lambda method, path: ""
    progress = Stops()
    run(uri, through(proxy, out), progress=progress)
    assert progress.resumed > len(STAGES) // 2
    assert objects(out) == contents(built.folder)


def test_what_no_attempt_mends_is_told_at_once_in_a_line(uri, out, tmp_path, s3):
    with pytest.raises(InputError, match="--corpus s3://no-such-bucket-here/x: no such bucket or object"):
        run("s3://no-such-bucket-here/x", tmp_path / "out")
    with pytest.raises(StorageError, match=r"no-such-bucket-here.*there is no such bucket"):
        run(uri, "s3://no-such-bucket-here/out")
    with pytest.raises(InputError, match=rf"--corpus s3://{BUCKET}/nothing-there: no such bucket or object"):
        run(f"s3://{BUCKET}/nothing-there", tmp_path / "out")


def test_no_permission_is_told(uri, tmp_path, proxy):
    proxy.fault = lambda method, path: "denied"
    with pytest.raises(StorageError, match=r"permission denied; the credentials there are do not allow it"):
        run(through(proxy, uri), tmp_path / "out")


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path):
    work = tmp_path / "work"

    class Elsewhere(ThreadExecutor):
        """Its machine has another folder at that path."""

        def submit(self, call, memory):
            shutil.rmtree(work)
            work.mkdir()
            return super().submit(call, memory)

    with pytest.raises(
        TaskFailedError, match=rf"does not see the work folder {work} of this build; give --out .*s3://"
    ):
        Engine(work, Elsewhere(1), Stops()).run("squares", [Job(function=square, arguments=Number(1))])


def test_a_small_cache_is_enough(s3, out, cache, monkeypatch):
    """Inputs stay as long as a job reads them, whatever others drop."""
    monkeypatch.setattr("glmdata.shards.cache.CACHE_BYTES", 1)
    engine = Engine(out, ThreadExecutor(4), Stops())
    first = engine.run("squares", [Job(function=square, arguments=Number(value)) for value in range(8)])
    files = [result.files["square.txt"] for result in first]
    second = engine.run("again", [Job(function=square, arguments=Number(value, files[value])) for value in range(8)])
    texts = [Remote(out).read(result.files["square.txt"].path) for result in second]
    assert texts == [f"{value**2}{value**2}".encode() for value in range(8)]


# ---------------------------------------------------------------- secrets

CANARY = "cAnArY0123456789"


def test_secrets_are_told_nowhere(corpus, uri, s3, tmp_path):
    query = f"?endpoint_override={s3}&scheme=http"
    login = f"AKCANARY00:{CANARY}@"
    place, target = (f"s3://{login}{BUCKET}/{name}{query}" for name in ("corpus", "secret-out"))
    environment = {"AWS_SECRET_ACCESS_KEY": f"env{CANARY}", "GLMDATA_CACHE_DIR": str(tmp_path / "cache")}
    bad = f"s3://{login}no-such-bucket-here/x{query}"
    presigned = f"https://{login}example.invalid/a.jsonl?X-Amz-Signature={CANARY}"
    odd = f"odd://{login}example/a.jsonl?X-Amz-Signature={CANARY}"
    commands = [
        ("build", "--corpus", place, "--out", target, *SMALL),
        ("build", "--corpus", place, "--out", target, *SMALL, "--seed", "5"),
        ("build", "--corpus", bad, "--out", target, *SMALL),
        ("build", "--corpus", place, "--corpus", f"{place}&allow_bucket_creation=false", "--out", target, *SMALL),
        ("build", "--corpus", place, "--out", bad, *SMALL),
        ("build", "--corpus", presigned, "--out", tmp_path / "o", *SMALL),
        ("build", "--corpus", odd, "--out", tmp_path / "o", *SMALL),
        ("build", "--corpus", place, "--out", tmp_path / "o", "--tokenizer", bad, *SMALL),
        ("why", target, "zh/a.jsonl:0", "--corpus", f"s3://{login}{BUCKET}/nothing{query}"),
        ("report", target),
        ("inspect", target),
        ("diff", target, target),
    ]  # fmt: skip
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        told = [glmdata(*commands[0], **environment)]
        told += pool.map(lambda command: glmdata(*command, **environment), commands[1:])
    for command, done in zip(commands, told, strict=True):
        for text in (done.stdout, done.stderr):
            assert CANARY not in text, command
            assert "AKCANARY00" not in text, command
            assert "Traceback" not in text, text
    codes = [done.returncode for done in told]
    assert codes[:2] == [0, 1]
    assert 0 not in codes[1:8]
    assert codes[8:] == [0, 0, 0, 0]
    for found in Remote(f"s3://{BUCKET}/secret-out").find():
        assert CANARY.encode() not in Remote(f"s3://{BUCKET}/secret-out").read(found.name), found
