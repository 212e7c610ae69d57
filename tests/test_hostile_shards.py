"""Stored builds that somebody damaged or made up, by the ids of the plan (D1 to D8): found, or refused by name.

More of the ids are in the names of tests in test_shards.py, test_stream.py and test_build.py.
"""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
import pytest
from building import run
from corpora import write_corpus
from damage import copied, flipped, rehashed, rewritten_manifest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo
from synthetic import refusal, write_build

from glmdata.corpus.files import InputFile
from glmdata.errors import BuildExistsError, ShardCorruptError, ShardError
from glmdata.pipelines.folder import BuildFolder, identity_of
from glmdata.recipe import Recipe, Section, differences
from glmdata.shards import manifest as manifest_module
from glmdata.shards.manifest import Manifest
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify

FLIPS = 100
"""In each of the tests that flip bits; benchmarks/hostile.py flips thousands."""


READS = """
import random, sys
from pathlib import Path
import numpy as np
from glmdata.errors import GlmdataError
from glmdata.shards.manifest import Manifest
from glmdata.shards.reader import Shards
sys.path.insert(0, sys.argv[4])
from damage import flipped, rehashed
folder, count, rehash = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "rehashed"
paths = sorted((folder / "shards").iterdir())
drawn, found = random.Random(11), {"same": 0, "told": 0, "other": 0}
good = Shards(folder).take(np.arange(Shards(folder).rows))
manifest = (folder / "manifest.json").read_text()
for _ in range(count):
    path = drawn.choice(paths)
    data = path.read_bytes()
    path.write_bytes(flipped(data, drawn.randrange(8 * len(data))))
    if rehash:
        rehashed(folder)
    try:
        shards = Shards(folder)
        rows = shards.take(np.arange(shards.rows))
        for number in range(0, shards.rows, 7):
            shards.row(number)
        same = all(np.array_equal(rows[name], good[name]) for name in good)
        found["same" if same else "other"] += 1
    except GlmdataError:
        found["told"] += 1
    path.write_bytes(data)
    (folder / "manifest.json").write_text(manifest)
print(found["same"], found["told"], found["other"])
"""


def read_apart(folder: Path, rehash: bool) -> list[int]:
    """Read a build with flipped bits in a process of its own: reads that gave the same, that were refused, other."""
    tests = str(Path(__file__).parent)
    command = [sys.executable, "-c", READS, str(folder), str(FLIPS), "rehashed" if rehash else "", tests]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]  # negative: a signal ended it
    return [int(count) for count in done.stdout.split()]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_d1_a_reader_never_gives_a_row_of_flipped_bits(tmp_path: Path, compression: str) -> None:
    """The same rows come only where the bit is in no record batch: the schema and footer are those of the manifest."""
    write_build(tmp_path / "b", compression=compression)
    same, told, other = read_apart(tmp_path / "b", rehash=False)
    assert (same + told, other) == (FLIPS, 0)
    assert told > FLIPS // 2


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_d4_damage_with_right_hashes_never_ends_the_process(tmp_path: Path, compression: str) -> None:
    """Stronger than no verification at all: somebody who makes a build up can give it any hashes."""
    write_build(tmp_path / "b", compression=compression)
    assert sum(read_apart(tmp_path / "b", rehash=True)) == FLIPS


def test_d4_nor_in_compact_shards_whose_rows_are_laid_out_by_kernels(tmp_path: Path) -> None:
    """Kernels check no bounds: what they are given is checked before."""
    write_corpus(tmp_path / "corpus", 20)
    options = ("shards.layout=compact", "shards.rows_per_record_batch=16")
    made = run(tmp_path / "corpus", tmp_path / "out", *options)
    assert read_apart(made.folder, rehash=False)[2] == 0
    assert sum(read_apart(made.folder, rehash=True)) == FLIPS


def test_d2_every_length_block_and_exchange_is_found(build: Path, tmp_path: Path) -> None:
    folder = copied(build, tmp_path / "b")
    first, second, last = sorted((folder / "shards").iterdir())
    whole, other = first.read_bytes(), second.read_bytes()
    write_build(tmp_path / "c", rows=40)
    strange = next((tmp_path / "c" / "shards").iterdir()).read_bytes()
    step = 4096
    cases = [whole[:length] for length in range(0, len(whole), 997)] + [whole[:-n] for n in range(1, 20)]
    cases += [whole[:at] + bytes(step) + whole[at + step :] for at in range(0, len(whole) - step, step)]
    cases += [whole + b"\0", whole + whole, other, strange[:-1] + b"\0"]
    for data in cases:
        if data == whole:
            continue
        first.write_bytes(data)
        assert [problem.path for problem in verify(folder)] == [f"shards/{first.name}"], len(data)
    first.write_bytes(other)
    second.write_bytes(whole)
    assert [problem.path for problem in verify(folder)] == [f"shards/{first.name}", f"shards/{second.name}"]
    with pytest.raises(ShardCorruptError, match=first.name):
        Shards(folder).row(0)
    assert Shards(folder).row(80)["sample_id"] == 807  # what is whole is still read
    assert last.is_file()


def test_d3_every_flipped_bit_of_the_manifest_is_found(build: Path, tmp_path: Path) -> None:
    """Also one that changes only how something is written, such as e to E in an exponent."""
    folder = copied(build, tmp_path / "b")
    path = folder / "manifest.json"
    whole = path.read_bytes()
    drawn = random.Random(5)
    bits = [drawn.randrange(8 * len(whole)) for _ in range(FLIPS)] + [8 * len(whole) - 1, 8 * len(whole) - 8]
    for bit in bits:
        path.write_bytes(flipped(whole, bit))
        found: list[str] = []
        told = refusal(lambda found=found: found.extend(problem.path for problem in verify(folder)), ShardError)
        assert found[:1] == ["manifest.json"] or "format version" in (told or ""), bit
    text = whole.decode()
    for written in (text.replace("\n", "\n "), text.replace(": ", ":"), text.rstrip(), text.replace("0.5", "5e-1", 1)):
        path.write_text(written, "utf-8")
        (problem,) = verify(folder)
        assert "not in the form" in problem.what


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=5)
    | st.sampled_from([-1, 0, 1 << 31, 1 << 60, "../x", "/etc/passwd", "a/../../x", "x\0y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value of a JSON tree."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


@given(data=st.data())
@settings(max_examples=250)
def test_c13_d5_a_manifest_with_any_value_in_any_place_is_read_or_refused(build: Path, data: st.DataObject) -> None:
    folder = build.parent / "fuzzed"
    if not folder.exists():
        copied(build, folder)
    shutil.copy(build / "manifest.json", folder / "manifest.json")

    def change(content: dict[str, Any]) -> None:
        *above, last = data.draw(st.sampled_from([place for place in places(content) if place]))
        target: Any = content
        for key in above:
            target = target[key]
        target[last] = data.draw(VALUES)

    rewritten_manifest(folder, change)
    try:
        shards = Shards(folder)
        for number in range(0, min(shards.rows, 100), 9):
            shards.row(number)
        list(verify(folder))
    except ShardError:
        return


def test_d5_a_manifest_without_end_is_not_read(build: Path, tmp_path: Path) -> None:
    folder = copied(build, tmp_path / "b")
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(1 << 40)  # a hole
    with pytest.raises(ShardCorruptError, match="bytes are no manifest"):
        Manifest.load(folder)


def test_d5_a_million_files_are_read_or_refused_at_once(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(build, tmp_path / "b")
    entry = {"bytes": 1, "xxh3": "0" * 16}
    rewritten_manifest(folder, lambda content: content["files"].update({f"f/{n}": entry for n in range(100_000)}))
    assert len(Manifest.load(folder).files) > 100_000
    monkeypatch.setattr(manifest_module, "MAX_MANIFEST_BYTES", 1 << 20)
    with pytest.raises(ShardCorruptError, match="1,048,576 bytes are no manifest"):
        Manifest.load(folder)


def test_d5_deep_json_is_no_manifest(build: Path, tmp_path: Path) -> None:
    folder = copied(build, tmp_path / "b")
    for text in ("[" * 100_000, '{"a":' * 100_000, "9" * 100_000, '{"format_version": 1e999}'):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(ShardCorruptError, match="damaged"):
            Manifest.load(folder)


# ---------------------------------------------------------------- D6: what a resume refuses


def leaves(section: Section, above: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    """(key, field, value) of every setting, so that a new one cannot be forgotten."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", field, value


def changed(field: FieldInfo, value: Any) -> Any:
    """Another value of a kind that a resume could meet."""
    if get_origin(field.annotation) is Literal:
        return next(choice for choice in get_args(field.annotation) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return {"x": 1} if isinstance(value, dict) else ["x"] if isinstance(value, list) else f"{value}x"


FILE = InputFile(uri="a.jsonl", path="/a", size=5, mtime_ns=7, format="jsonl", compression=None, problem=None)


@pytest.mark.parametrize("key", [key for key, _, _ in leaves(Recipe())])
def test_d6_a_build_of_another_setting_is_refused_by_its_name(tmp_path: Path, key: str) -> None:
    recipe = Recipe()
    made_of = identity_of(recipe, "t", [FILE])
    other = json.loads(json.dumps(made_of))
    *above, last = key.split(".")
    target = other["recipe"]
    for name in above:
        target = target[name]
    target[last] = changed(*next((field, value) for found, field, value in leaves(recipe) if found == key))
    assert next(differences(made_of["recipe"], other["recipe"]))[0].startswith(key)
    folder = BuildFolder(tmp_path / "out")
    with folder.locked():
        folder.claim(made_of)
        folder.claim(made_of)
        with pytest.raises(BuildExistsError, match=key.replace(".", r"\.")):
            folder.claim(other)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tokenizer": "u"}, "another tokenizer"),
        ({"against": ["x"]}, "another --against"),
        ({"inputs": [["a.jsonl", 6, 7]]}, "corpus files changed: a.jsonl"),
        ({"inputs": [["a.jsonl", 5, 8]]}, "corpus files changed: a.jsonl"),
        ({"inputs": [["b.jsonl", 5, 7]]}, "corpus files new: b.jsonl; corpus files gone: a.jsonl"),
        ({"inputs": []}, "corpus files gone: a.jsonl"),
        ({"versions": {"glmdata": "9"}}, "glmdata is 9"),
        ({"benchmarks": [["x", "0"]]}, "benchmark files new: x"),
    ],
)
def test_d6_a_build_of_other_inputs_is_refused_by_their_names(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    made_of = json.loads(json.dumps(identity_of(Recipe(), "t", [FILE])))
    folder = BuildFolder(tmp_path / "out")
    with folder.locked():
        folder.claim(made_of)
        with pytest.raises(BuildExistsError, match=told):
            folder.claim(made_of | changes)


# ---------------------------------------------------------------- E5


def test_e5_a_shard_with_an_extension_type_is_refused_and_its_code_not_run(build: Path, tmp_path: Path) -> None:
    """The schema that counts is the manifest's: what a file says of its types is never looked at by a reader."""
    folder, harm = copied(build, tmp_path / "b"), tmp_path / "harmed"
    path = min((folder / "shards").iterdir())
    table = pa.ipc.open_file(path).read_all()
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": f"cos\nsystem\n(S'touch {harm}'\ntR.".encode(),
    }
    fields = [field.with_metadata(metadata) if field.name == "language" else field for field in table.schema]
    with pa.ipc.new_file(path, pa.schema(fields)) as writer:
        writer.write_table(pa.Table.from_arrays(table.columns, schema=pa.schema(fields)), max_chunksize=8)
    rehashed(folder)
    rewritten_manifest(folder, lambda content: content["shards"][0].update(bytes=path.stat().st_size))
    assert [problem.place for problem in verify(folder)] == ["schema"]
    assert Shards(folder).row(0)["language"] == 0
    assert not harm.exists()
