"""Builds whose corpus, work or output lie in an object store: the bytes of a local build, whatever befalls."""

import concurrent.futures
import itertools
import json
import os
import re
import signal
import subprocess
import time

import pytest
from building import OPTIONS, SPEED, STAGES, contents, run
from commands import GLMDATA, SMALL, glmdata
from corpora import document, write_corpus
from faulty_proxy import FaultyProxy, faulty_proxy
from object_store import BUCKET, upload
from progress import Stops

from glmdata import remote as remote_module
from glmdata.errors import BuildExistsError, BuildRunningError, InputError, StorageError
from glmdata.pipelines.folder import BuildFolder
from glmdata.remote import Remote
from glmdata.shards.verify import verify


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


@pytest.mark.parametrize("address", ["none", "local"])  # a Ray that all tests share does not know this store
def test_a_build_in_a_store_has_the_bytes_of_the_local_one(uri, built, prefix, address):
    made = run(uri, prefix, address=address)
    assert made.manifest == built.manifest
    assert objects(prefix) == contents(built.folder)
    assert {found.name for found in Remote(prefix).find(".build")} == {"corpus.json", "identity.json"}
    assert list(verify(prefix)) == []


def test_a_local_corpus_and_a_tokenizer_of_a_store(corpus, built, prefix, s3):
    upload(built.folder, "earlier")
    made = run(corpus, prefix, tokenizer_path=f"s3://{BUCKET}/earlier/tokenizer.model")
    assert made.manifest["fingerprint"] == built.manifest["fingerprint"]
    again = run(corpus, prefix, tokenizer_path=f"s3://{BUCKET}/earlier/tokenizer.model")
    assert again.already_there
    with pytest.raises(InputError, match=r"s3://glmdata-test/earlier/nothing\.model: no such tokenizer"):
        run(corpus, f"{prefix}-2", tokenizer_path=f"s3://{BUCKET}/earlier/nothing.model")


def test_the_commands_work_on_it(uri, prefix, cache):
    done = glmdata("build", "--corpus", uri, "--out", prefix, *SMALL)
    assert done.returncode == 0, done.stderr
    assert f"{prefix} done, fingerprint" in done.stdout
    again = json.loads(glmdata("build", "--corpus", uri, "--out", prefix, *SMALL, "--json").stdout)
    assert again["already_there"]
    assert again["out"] == prefix
    told = glmdata("why", prefix, "zh/a.jsonl:0")
    assert "zh/a.jsonl:0" in told.stdout
    assert document("zh", 0)[:10] in told.stdout, told.stdout
    page = json.loads(glmdata("report", prefix, "--json").stdout)
    assert page == {"path": f"{prefix}/report.html", "bytes": len(Remote(prefix).read("report.html"))}
    assert glmdata("diff", prefix, prefix).returncode == glmdata("inspect", prefix).returncode == 0


# ---------------------------------------------------------------- stop, go on, begin anew


@pytest.mark.parametrize("stage", ["ingest", "train", "tokenize", "shards"])
def test_a_build_stopped_anywhere_goes_on_to_the_same_bytes(uri, built, prefix, stage):
    with pytest.raises(KeyboardInterrupt):
        run(uri, prefix, progress=Stops(stage, "job"))
    with pytest.raises(FileNotFoundError):
        Remote(prefix).read("manifest.json")
    progress = Stops()
    run(uri, prefix, progress=progress)
    assert progress.resumed > 0
    assert objects(prefix) == contents(built.folder)


def test_a_killed_driver_is_followed_at_once(uri, built, prefix, tmp_path):
    settings = [part for option in OPTIONS for part in ("--set", option)]
    command = [*GLMDATA, "build", "--corpus", uri, "--out", prefix, *settings, "--address", "none", "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as driver:
        while driver.poll() is None and not Remote(prefix).find(".build/sign"):
            time.sleep(0.05)
        os.kill(driver.pid, signal.SIGKILL)
    assert BuildFolder(prefix).place.sizes(["manifest.json"]) == {}, "it was too fast to be killed"
    assert Remote(prefix).find(".build/lock")
    progress = Stops()
    run(uri, prefix, progress=progress)
    assert progress.resumed > 0
    assert objects(prefix) == contents(built.folder)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith("scratch-")]


def test_fresh_removes_what_a_build_wrote_and_nothing_else(uri, built, prefix):
    run(uri, prefix)
    Remote(prefix).write("notes.txt", b"mine")
    Remote(prefix).write("shards/mine.txt", b"mine")
    with pytest.raises(BuildExistsError, match=r"seed is 7, there it is 1234.*--fresh"):
        run(uri, prefix, seed=7)
    other = run(uri, prefix, seed=7, fresh=True)
    assert other.manifest["fingerprint"] != built.manifest["fingerprint"]
    assert Remote(prefix).read("notes.txt") == Remote(prefix).read("shards/mine.txt") == b"mine"
    listed = {shard["path"] for shard in other.manifest["shards"]} | set(other.manifest["files"])
    assert set(objects(prefix)) == listed | {"manifest.json", "report.html", "notes.txt", "shards/mine.txt"}


def test_a_prefix_with_other_objects_is_not_built_into(uri, prefix):
    Remote(prefix).write("thesis.tex", b"mine")
    with pytest.raises(BuildExistsError, match=r"holds other files \(thesis\.tex\)"):
        run(uri, prefix)
    assert [found.name for found in Remote(prefix).find()] == ["thesis.tex"]


def test_a_corpus_that_changes_while_it_is_read_stops_the_build(corpus, prefix, s3, tmp_path):
    place = upload(corpus, "changing")

    class Writes(Stops):
        def stage_started(self, stage, jobs, weight):
            if stage == "ingest":
                Remote(place).write("zh/a.jsonl", b'{"text": "new"}\n')

    with pytest.raises(InputError, match=r"zh/a\.jsonl changed while it was read; .*--fresh"):
        run(place, tmp_path / "out", progress=Writes())


# ---------------------------------------------------------------- faults


@pytest.fixture
def proxy(s3, monkeypatch):
    monkeypatch.setattr(remote_module, "BACKOFF_S", 0.05)
    with faulty_proxy(s3) as proxy:
        yield proxy
        proxy.fault = lambda method, path: ""


def through(proxy: FaultyProxy, place: str) -> str:
    return f"{place}?endpoint_override={proxy.address}&scheme=http"


def test_faults_now_and_then_are_got_over(uri, built, prefix, proxy):
    count, kinds = itertools.count(), itertools.cycle(["slow down", "error", "cut", "reset"])

    def fault(method, path):
        if next(count) % 12 != 4:
            return ""
        kind = next(kinds)
        return kind if method == "GET" or kind != "cut" else "error"

    proxy.fault = fault
    run(through(proxy, uri), through(proxy, prefix))
    assert proxy.faults > 10
    assert objects(prefix) == contents(built.folder)


def test_requests_that_hang_are_made_again(s3, prefix, proxy):
    hung = iter(["hang"])
    Remote(prefix).write("x", b"1")
    proxy.fault = lambda method, path: next(hung, "") if method == "GET" else ""
    assert Remote(through(proxy, prefix)).read("x") == b"1"
    assert proxy.faults == 1


def test_a_store_that_stays_down_stops_the_build_which_goes_on_later(uri, built, prefix, proxy):
    proxy.fault = lambda method, path: "error" if method == "PUT" and "/.build/tokenize/" in path else ""
    with pytest.raises(StorageError) as told:
        run(uri, through(proxy, prefix))
    assert re.search(
        rf"{prefix}/\.build/tokenize/.*cannot be written in 4 attempts over \d+ s: .*; check the network and the "
        "credentials, then run the same command again: finished work is kept",
        str(told.value),
    )
    proxy.fault = lambda method, path: ""
    progress = Stops()
    run(uri, through(proxy, prefix), progress=progress)
    assert progress.resumed > len(STAGES) // 2
    assert objects(prefix) == contents(built.folder)


def test_what_no_attempt_mends_is_told_at_once_in_a_line(uri, prefix, tmp_path, s3):
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


def test_two_builds_do_not_share_a_prefix(uri, prefix):
    with (
        BuildFolder(prefix).locked(),
        pytest.raises(BuildRunningError, match=rf"process {os.getpid()} on .* is building"),
    ):
        run(uri, prefix)
    assert Remote(prefix).find(".build/lock") == []
