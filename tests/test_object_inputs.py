"""What a build reads beside its corpus, from an object store: earlier builds, indexes, benchmarks."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from building import contents, ledger, run
from commands import SMALL, glmdata
from corpora import QUESTION, RIDDLE, document, write_jsonl, write_texts
from object_store import BUCKET, upload
from progress import Stops

from glmdata.errors import ConfigError, InputError, ShardCorruptError
from glmdata.pipelines.build import Built
from glmdata.pipelines.executors import choose_executor
from glmdata.pipelines.index import index_corpus
from glmdata.recipe import load_recipe
from glmdata.remote import Remote

pytestmark = pytest.mark.usefixtures("s3")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMDATA_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("earlier")
    write_jsonl(folder / "corpus" / "a.jsonl", [document("en", index, 12) for index in range(20)])
    return run(folder / "corpus", folder / "out", "balance.languages={en: 1}")


@pytest.fixture
def later(tmp_path: Path) -> Path:
    held = [document("en", index, 12) for index in range(3)]
    new = [document("en", index, 12) for index in range(50, 90)]
    write_jsonl(tmp_path / "corpus" / "b.jsonl", [held[0], held[1].upper(), held[2] + " And then some.", *new])
    return tmp_path / "corpus"


@pytest.mark.parametrize("target", ["here", "there"])
def test_a_build_in_a_store_is_left_out_as_one_at_hand_is(
    earlier: Built, later: Path, prefix: str, tmp_path: Path, target: str
) -> None:
    uri = upload(earlier.folder, f"earlier-{target}")
    out = str(tmp_path / "far") if target == "here" else f"{prefix}/out"
    near = run(later, tmp_path / "near", "balance.languages={en: 1}", against=(str(earlier.folder),))
    far = run(later, out, "balance.languages={en: 1}", against=(uri,))
    assert far.manifest == near.manifest
    assert far.report["outcomes"] == {"exact_duplicate": 2, "kept": 40, "near_duplicate": 1}
    if target == "here":
        assert contents(far.folder) == contents(near.folder)
    # The same signatures, wherever they lie, are the same build.
    assert run(later, out, "balance.languages={en: 1}", against=(str(earlier.folder),)).already_there


def test_an_index_in_a_store_serves_a_build_and_another_index(earlier: Built, later: Path, tmp_path: Path) -> None:
    def index(corpus: Path, name: str, against: tuple[str, ...]) -> int:
        return index_corpus(
            [str(corpus)],
            tmp_path / name,
            load_recipe("glm", ["balance.languages={en: 1}"]),
            make_executor=lambda size: choose_executor("none", 2, size),
            progress=Stops(),
            against=against,
        )

    assert index(later, "first", (upload(earlier.folder, "of-a-build"),)) == 40
    uri = upload(tmp_path / "first", "first")
    made = run(later, tmp_path / "out", "balance.languages={en: 1}", against=(uri,))
    assert made.report["outcomes"] == {"exact_duplicate": 40, "kept": 3}
    assert index(later, "second", (uri,)) == 3


def test_what_cannot_be_compared_is_refused_before_anything_is_read(
    earlier: Built, later: Path, tmp_path: Path
) -> None:
    uri = upload(earlier.folder, "whole")
    options = ("balance.languages={en: 1}",)
    with pytest.raises(ConfigError, match=rf"s3://{BUCKET}/whole: .* has num_perm 128, this build 64"):
        run(later, tmp_path / "out", *options, "dedupe.num_perm=64", against=(uri,))
    with pytest.raises(ConfigError, match=rf"--against s3://{BUCKET}/nothing: there is no manifest\.json"):
        run(later, tmp_path / "out", *options, against=(f"s3://{BUCKET}/nothing",))
    [file] = (earlier.folder / "signatures").iterdir()
    store, data = Remote(uri), bytearray(file.read_bytes())
    store.write(f"signatures/{file.name}", bytes(data[:-8]))
    with pytest.raises(ShardCorruptError, match=rf"whole/signatures/{file.name} has {len(data) - 8} bytes"):
        run(later, tmp_path / "out", *options, against=(uri,))
    assert not (tmp_path / "out").exists()
    data[len(data) // 2] ^= 1
    store.write(f"signatures/{file.name}", bytes(data))
    with pytest.raises(ShardCorruptError, match=rf"whole/signatures/{file.name}: its bytes are not those"):
        run(later, tmp_path / "out", *options, against=(uri,))
    store.remove([f"signatures/{file.name}"])
    with pytest.raises(ShardCorruptError, match=rf"whole/signatures/{file.name} cannot be read"):
        run(later, tmp_path / "again", *options, against=(uri,))


@pytest.fixture(scope="module")
def contaminated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    zh, en = ([document(code, index) for index in range(40)] for code in ("zh", "en"))
    zh[7] = f"{zh[7]}\n{QUESTION}"
    en[5] = f"{RIDDLE.upper()} {en[5]}"
    return write_texts(tmp_path_factory.mktemp("corpus"), {"zh.jsonl": zh, "en.jsonl": en})


def test_benchmarks_in_a_store_are_looked_for_as_those_at_hand(contaminated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "sums.jsonl").write_text(json.dumps({"question": QUESTION}) + "\n", "utf-8")
    (folder / "riddles.txt").write_text(f"{RIDDLE}\n", "utf-8")
    pq.write_table(pa.table({"text": ["Nothing of this is in the corpus."]}), folder / "t.parquet")
    uri = upload(folder, "benchmarks")
    near = run(contaminated, tmp_path / "near", f"decontamination.benchmarks={json.dumps([str(folder)])}")
    shutil.rmtree(folder)
    far = run(contaminated, tmp_path / "far", f"decontamination.benchmarks={json.dumps([uri])}")
    assert far.report["outcomes"]["contaminated"] == 2
    assert ledger(far) == ledger(near)


def test_benchmarks_that_cannot_be_read_are_told_by_their_uri(contaminated: Path, tmp_path: Path) -> None:
    store = Remote(f"s3://{BUCKET}/bad")
    store.write("x/a.jsonl", b'{"text": "one"}\nno json\n')
    for number, (place, error, told) in enumerate(
        (
            ("x", InputError, rf"s3://{BUCKET}/bad/x/a\.jsonl: line 2 is not JSON"),
            ("x/a.jsonl", InputError, rf"s3://{BUCKET}/bad/x/a\.jsonl: line 2"),
            ("none", InputError, rf"s3://{BUCKET}/bad/none"),
        )
    ):
        with pytest.raises(error, match=told):
            run(contaminated, tmp_path / f"out-{number}", f"decontamination.benchmarks=['s3://{BUCKET}/bad/{place}']")


def test_logins_are_told_nowhere(contaminated: Path, earlier: Built, s3: str, tmp_path: Path) -> None:
    upload(earlier.folder, "earlier")
    query = f"?endpoint_override={s3}&scheme=http"
    login = "AKCANARY00:cAnArY0123456789@"
    against = f"s3://{login}{BUCKET}/earlier{query}"
    benchmark = f"decontamination.benchmarks=['s3://{login}{BUCKET}/b.jsonl']"
    out = tmp_path / "out"
    build = ("build", "--corpus", contaminated, "--out", out, *SMALL)
    told = [
        glmdata(*build, "--against", against),
        glmdata(*build, "--against", against.replace("earlier", "nothing")),
        glmdata(*build, "--set", benchmark),
    ]
    assert [done.returncode for done in told] == [0, 2, 2]
    assert "without user, password and query" in told[2].stderr.replace("\n", " ")
    words = [text for done in told for text in (done.stdout, done.stderr)]
    files = [path.read_bytes().decode("latin-1") for path in out.rglob("*") if path.is_file()]
    assert not [text for text in (*words, *files) if "CANARY" in text.upper()]
