"""Shards: the same rows give the same bytes, every damaged byte is found, and rows come back as they went in."""

import json
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import LENGTH, SPECIAL, VOCABULARY, batch_of, random_row, write_build

from glmdata.errors import ShardCorruptError, ShardError, StorageError
from glmdata.shards import mapping, reader
from glmdata.shards.footer import FooterError, record_batch_blocks
from glmdata.shards.manifest import Manifest, fingerprint_of, manifest_text
from glmdata.shards.reader import Shards
from glmdata.shards.schema import MATRIX_COLUMNS, SCALAR_COLUMNS, make_batch, shard_schema, trim_batch
from glmdata.shards.verify import verify
from glmdata.shards.writer import write_shard

SCHEMA = shard_schema(LENGTH, VOCABULARY)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A good build of 100 rows in three shards."""
    folder = tmp_path_factory.mktemp("good") / "build"
    write_build(folder)
    return folder


def copied(build: Path, folder: Path) -> Path:
    """A copy to damage."""
    for path in build.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(build)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(build)).write_bytes(path.read_bytes())
    return folder


def rewritten_manifest(folder: Path, change) -> None:
    """Change the manifest and make its checksum right again, as somebody who means harm would."""
    content = json.loads((folder / "manifest.json").read_text())
    del content["checksum"]
    change(content)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["checksum"] = xxhash.xxh3_64_hexdigest(canonical.encode())
    (folder / "manifest.json").write_text(manifest_text(content))


# ---------------------------------------------------------------- schema and batches


def test_ids_are_as_narrow_as_the_vocabulary_allows():
    assert shard_schema(8, 65536).field("input_ids").type.value_type == pa.uint16()
    assert shard_schema(8, 65537).field("input_ids").type.value_type == pa.uint32()


def test_nothing_in_the_schema_is_nullable():
    fields = list(SCHEMA) + [field.type.value_field for field in SCHEMA if hasattr(field.type, "value_field")]

    assert not [field.name for field in fields if field.nullable]


@pytest.mark.parametrize(("length", "size"), [(0, 10), (65536, 10), (8, 0), (8, (1 << 32) + 1)])
def test_rows_that_cannot_be_stored_are_refused(length, size):
    with pytest.raises(ValueError, match="must lie in"):
        shard_schema(length, size)


def columns_of(rows):
    batch = batch_of(rows, SCHEMA)
    columns = {name: batch.column(name) for name in SCHEMA.names}
    for name in MATRIX_COLUMNS:
        columns[name] = columns[name].flatten().to_numpy().reshape(len(rows), LENGTH)
    for name in SCALAR_COLUMNS:
        columns[name] = columns[name].to_numpy()
    return columns


def test_a_batch_lies_on_the_arrays_it_was_made_of():
    columns = columns_of([random_row(n) for n in range(5)])

    batch = make_batch(SCHEMA, **columns)

    view = batch.column("input_ids").flatten().to_numpy()
    assert np.shares_memory(view, columns["input_ids"])


def test_list_columns_may_be_nullable_slices():
    columns = columns_of([random_row(n) for n in range(5)])
    wanted = make_batch(SCHEMA, **columns)
    longer = pa.array([[1, 2], *columns["sentence_ends"].to_pylist(), [9]], pa.list_(pa.uint16()))

    batch = make_batch(SCHEMA, **(columns | {"sentence_ends": longer[1:6]}))

    assert batch.equals(wanted)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("input_ids", lambda a: a.astype(np.int64)),
        ("input_ids", lambda a: a[:, :-1].copy()),
        ("input_ids", lambda a: np.asfortranarray(a)),
        ("input_ids", lambda a: a.tolist()),
        ("length", lambda a: a[:, None]),
        ("length", lambda a: a[:-1]),
        ("sentence_ends", lambda a: a.cast(pa.list_(pa.int32()))),
        ("document_ids", lambda a: pa.array([None] * len(a), a.type)),
    ],
)
def test_columns_that_do_not_fit_are_refused(name, spoil):
    columns = columns_of([random_row(n) for n in range(5)])

    with pytest.raises(ValueError, match=r"column"):
        make_batch(SCHEMA, **(columns | {name: spoil(columns[name])}))


def test_missing_columns_are_refused():
    columns = columns_of([random_row(0)])
    del columns["language"]

    with pytest.raises(ValueError, match="language"):
        make_batch(SCHEMA, **columns)


# ---------------------------------------------------------------- writing


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 20), count=st.integers(0, 13), compression=st.sampled_from([None, "zstd"]))
def test_bytes_do_not_depend_on_where_rows_were_sliced_from(tmp_path_factory, start, count, compression):
    folder = tmp_path_factory.mktemp("bytes")
    rows = [random_row(n) for n in range(40)]
    big = batch_of(rows, SCHEMA)
    wanted = write_shard(
        folder / "fresh", SCHEMA, [batch_of(rows[start : start + count], SCHEMA)], compression=compression
    )

    sliced = write_shard(folder / "sliced", SCHEMA, [big.slice(start, count)], compression=compression)

    assert sliced == wanted
    assert (folder / "sliced").read_bytes() == (folder / "fresh").read_bytes()


def test_a_slice_does_not_carry_its_neighbours_along(tmp_path):
    rows = [random_row(n) | {"context_length": 0x4142, "length": 0x4142} for n in range(8)]
    rows[3] |= {"context_length": 1, "length": 2}

    write_shard(tmp_path / "one", SCHEMA, [batch_of(rows, SCHEMA).slice(3, 1)])

    assert b"BABABA" not in (tmp_path / "one").read_bytes()


def test_hashes_are_those_of_the_file_and_of_each_message(tmp_path):
    rows = [random_row(n) for n in range(10)]
    info = write_shard(tmp_path / "x", SCHEMA, [batch_of(rows[:6], SCHEMA), batch_of(rows[6:], SCHEMA)])

    data = (tmp_path / "x").read_bytes()
    blocks = record_batch_blocks(memoryview(data))
    assert (info.rows, info.bytes, info.xxh3) == (10, len(data), xxhash.xxh3_64_hexdigest(data))
    assert info.record_batches == tuple(xxhash.xxh3_64_hexdigest(data[b.offset : b.stop]) for b in blocks)
    messages = [pa.ipc.read_message(pa.py_buffer(data[b.offset : b.stop])) for b in blocks]
    assert [pa.ipc.read_record_batch(m, SCHEMA).num_rows for m in messages] == [6, 4]


def test_d7_a_frozen_shard_keeps_its_bytes(tmp_path):
    """Another hash here means other bytes from the same rows: another format, or a pyarrow that writes otherwise."""
    rows = [random_row(n) | {"sentence_ends": [3], "input_ids": list(range(LENGTH))} for n in range(5)]
    fixed = [row | {name: [1] * LENGTH for name in MATRIX_COLUMNS[1:]} | {"length": 9} for row in rows]
    fixed = [row | {"context_length": 4, "sample_id": n} for n, row in enumerate(fixed)]

    info = write_shard(tmp_path / "x", SCHEMA, [batch_of(fixed, SCHEMA)])

    assert info.record_batches == ("fe0170b64b669e4f",)


def test_batches_of_other_columns_or_with_nulls_are_not_written(tmp_path):
    other = batch_of([random_row(0, 16)], shard_schema(16, VOCABULARY))
    with pytest.raises(ValueError, match="other columns"):
        write_shard(tmp_path / "x", SCHEMA, [other])
    batch = batch_of([random_row(0)], SCHEMA)
    holed = batch.set_column(6, SCHEMA.field(6), pa.array([None], pa.uint16()))
    with pytest.raises(ValueError, match="nulls"):
        trim_batch(holed, SCHEMA)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_to_be_full():
    with pytest.raises(StorageError, match="no space is left"):
        write_shard("/dev/full", SCHEMA, [batch_of([random_row(n) for n in range(500)], SCHEMA)])


# ---------------------------------------------------------------- footer


def test_the_footer_parser_finds_no_batches_in_an_empty_file(tmp_path):
    write_shard(tmp_path / "x", SCHEMA, [])

    assert record_batch_blocks(memoryview((tmp_path / "x").read_bytes())) == []


def test_c13_the_footer_parser_survives_any_bytes(tmp_path):
    write_shard(tmp_path / "x", SCHEMA, [batch_of([random_row(n)], SCHEMA) for n in range(3)])
    data = (tmp_path / "x").read_bytes()
    (size,) = struct.unpack("<i", data[-10:-6])
    rng = random.Random(1)
    for _ in range(3000):
        spoiled = bytearray(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.1 else data)
        for _ in range(rng.choice((1, 1, 4, 40))):
            at = rng.randrange(max(0, len(spoiled) - size - 20), len(spoiled)) if spoiled else 0
            spoiled[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))])
        try:
            blocks = record_batch_blocks(memoryview(bytes(spoiled)))
        except FooterError:
            continue
        assert all(0 < block.offset < block.stop <= len(spoiled) for block in blocks)


# ---------------------------------------------------------------- manifest


def test_a_manifest_comes_back_as_it_was_written(build):
    manifest = Manifest.load(build)

    assert manifest.dumps() == (build / "manifest.json").read_text()
    assert manifest.rows == 100
    assert manifest.fingerprint == fingerprint_of([shard.xxh3 for shard in manifest.shards])


def test_a_folder_without_a_manifest_holds_no_build(tmp_path):
    with pytest.raises(ShardError, match=r"holds no finished build: no manifest\.json"):
        Manifest.load(tmp_path)
    with pytest.raises(ShardError, match="holds no finished build"):
        Manifest.load(tmp_path / "nowhere")


def test_d5_d7_another_format_version_is_named(build, tmp_path):
    folder = copied(build, tmp_path / "b")
    rewritten_manifest(folder, lambda content: content.update(format_version=2))

    with pytest.raises(ShardError, match="format version 2"):
        Manifest.load(folder)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"{}", b'{"checksum": 1}', b"1" * 9999])
def test_what_is_no_manifest_is_damaged(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text)

    with pytest.raises(ShardCorruptError, match=r"manifest\.json"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", "a\\b", "", "./a", "ünïcode", "a\n"])
def test_d5_names_that_leave_the_folder_are_refused(build, tmp_path, name):
    folder = copied(build, tmp_path / "b")
    rewritten_manifest(folder, lambda content: content["shards"][0].update(path=name))
    with pytest.raises(ShardCorruptError, match=r"manifest\.json: not a manifest"):
        Manifest.load(folder)
    folder = copied(build, tmp_path / "c")
    rewritten_manifest(folder, lambda content: content["files"].update({name: {"bytes": 1, "xxh3": "0" * 16}}))

    with pytest.raises(ShardCorruptError, match=r"manifest\.json: not a manifest"):
        Manifest.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(sequence_length="32"),
        lambda m: m.update(surplus=1),
        lambda m: m.update(fingerprint="0" * 32),
        lambda m: m.update(languages=[]),
        lambda m: m["recipe"].pop("shards"),
        lambda m: m["recipe"]["shards"].update(rows_per_record_batch=7),
        lambda m: m["shards"].append(m["shards"][0]),
        lambda m: m["shards"][0].update(rows=-1),
        lambda m: m["shards"][0].update(xxh3="g" * 16),
        lambda m: m["tokenizer"]["special_tokens"].pop("sop"),
        lambda m: m["tokenizer"]["special_tokens"].update(sop=VOCABULARY),
    ],
)
def test_d5_manifests_that_contradict_themselves_are_refused(build, tmp_path, change):
    folder = copied(build, tmp_path / "b")
    rewritten_manifest(folder, change)

    with pytest.raises(ShardCorruptError):
        Manifest.load(folder)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_rows_come_back_as_they_went_in(tmp_path, compression):
    rows = write_build(tmp_path / "b", compression=compression)
    shards = Shards(tmp_path / "b")

    assert (shards.rows, shards.num_batches) == (100, 13)
    for number in range(100):
        found = shards.row(number)
        assert {name: getattr(v, "tolist", lambda v=v: v)() for name, v in found.items()} == rows[number]


def test_take_gathers_any_rows_in_the_order_asked_for(build):
    shards = Shards(build)
    rng = np.random.default_rng(3)
    for count in (0, 1, 7, 300):
        rows = rng.integers(0, 100, count)
        found = shards.take(rows)
        for name in (*SCALAR_COLUMNS, *MATRIX_COLUMNS):
            wanted = [random_row(int(n))[name] for n in rows]
            assert found[name].tolist() == wanted


def test_take_fills_views_of_other_dtypes(build):
    room = np.zeros((3, 2, LENGTH), np.int64)

    Shards(build).take(np.array([5, 5, 99]), out={"position_ids": room[:, 0], "block_position_ids": room[:, 1]})

    assert room[2].tolist() == [random_row(99)["position_ids"], random_row(99)["block_position_ids"]]


def test_rows_outside_the_build_are_an_index_error(build):
    shards = Shards(build)
    for call in (lambda: shards.row(100), lambda: shards.row(-1), lambda: shards.batch(13)):
        with pytest.raises(IndexError):
            call()
    with pytest.raises(IndexError):
        shards.take(np.array([0, 100]))


def test_rows_outlive_the_reader_and_are_read_only(build):
    row = Shards(build).row(42)

    assert row["input_ids"].tolist() == random_row(42)["input_ids"]
    assert not row["input_ids"].flags.writeable


def test_a_reader_pickles_without_data(build):
    shards = Shards(build)
    shards.take(np.arange(100))

    again = pickle.loads(pickle.dumps(shards))

    assert len(pickle.dumps(shards)) < 20_000
    assert again.row(3)["sample_id"] == 37


def test_few_maps_and_little_cache_give_the_same_rows(build, monkeypatch):
    monkeypatch.setattr(mapping, "MAX_MAPPED_SHARDS", 1)
    monkeypatch.setattr(reader, "CACHE_BYTES", 1)
    shards = Shards(build)
    rows = np.random.default_rng(1).permutation(100)

    first, second = (shards.take(rows)["sample_id"].tolist() for _ in range(2))

    assert first == second == [10 * int(n) + 7 for n in rows]


def test_damage_names_shard_and_record_batch(build, tmp_path):
    folder = copied(build, tmp_path / "b")
    path = folder / "shards/part-00001-of-00003.arrow"
    data = bytearray(path.read_bytes())
    block = record_batch_blocks(memoryview(bytes(data)))[2]
    data[block.stop - 1] ^= 1
    path.write_bytes(data)
    shards = Shards(folder)

    assert shards.row(40)["sample_id"] == 407
    with pytest.raises(ShardCorruptError, match=r"part-00001-of-00003\.arrow: record batch 2 \(rows 16 to 23\)"):
        shards.row(40 + 16)


def test_d2_cut_missing_and_misplaced_shards_are_refused(build, tmp_path):
    folder = copied(build, tmp_path / "b")
    first, second, third = sorted((folder / "shards").iterdir())
    data = first.read_bytes()
    first.write_bytes(data[:-1000])
    second.unlink()
    with pytest.raises(ShardCorruptError, match=rf"{first.name}: \d+ bytes, the manifest says \d+"):
        Shards(folder).row(0)
    with pytest.raises(ShardError, match=f"{second.name}: missing"):
        Shards(folder).row(40)
    outside = tmp_path / third.name
    outside.write_bytes(third.read_bytes())
    third.unlink()
    third.symlink_to(outside)
    with pytest.raises(ShardError, match="leads out of the build's folder"):
        Shards(folder).row(99)
    third.unlink()
    third.symlink_to(third)
    with pytest.raises(ShardError, match=third.name):
        Shards(folder).row(99)
    assert [p.path.split("/")[-1] for p in verify(folder)] == [first.name, second.name, third.name]


# ---------------------------------------------------------------- verification


def test_a_good_build_has_no_problem(build, tmp_path):
    write_build(tmp_path / "z", compression="zstd", rows=41)

    assert list(verify(build)) == []
    assert list(verify(tmp_path / "z")) == []


def test_d1_d3_every_flipped_bit_is_found_and_its_file_named(build, tmp_path):
    folder = copied(build, tmp_path / "b")
    rng = random.Random(7)
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
    assert len(names) == 7
    for name in names:
        good = (folder / name).read_bytes()
        places = [rng.randrange(len(good)) for _ in range(25)] + [0, len(good) - 1, max(0, len(good) - 9)]
        for at in places:
            data = bytearray(good)
            data[at] ^= 1 << rng.randrange(8)
            (folder / name).write_bytes(data)
            try:
                found = [problem.path for problem in verify(folder)]
            except ShardError as error:  # the manifest's format version
                found = [name] if "format version" in str(error) else []
            assert found == [name] or (name == "manifest.json" and Manifest.load(folder) == Manifest.load(build)), at
        (folder / name).write_bytes(good)


def test_a_damaged_record_batch_is_told(build, tmp_path):
    folder = copied(build, tmp_path / "b")
    path = folder / "shards/part-00000-of-00003.arrow"
    data = bytearray(path.read_bytes())
    data[record_batch_blocks(memoryview(bytes(data)))[3].stop - 40] ^= 16
    path.write_bytes(data)

    assert [p.place for p in verify(folder)] == ["record batch 3"]


@pytest.mark.parametrize("name", ["shards", "shards/part-00001-of-00003.arrow"])
def test_links_out_of_the_folder_are_not_followed(build, tmp_path, name):
    folder, linked = copied(build, tmp_path / "b"), "shards/part-00001-of-00003.arrow"
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ShardError, match=rf"{linked}: leads out of the build's folder; put the file itself there"):
        Shards(folder).row(50)
    told = [problem.what for problem in verify(folder) if problem.path == linked]
    assert told == ["leads out of the build's folder; put the file itself there"]


def test_d2_missing_longer_and_extra_files_are_found(build, tmp_path):
    folder = copied(build, tmp_path / "b")
    first, second, _ = sorted((folder / "shards").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes() + b"\0")
    (folder / "shards/extra.arrow").write_bytes(b"x")
    (folder / "tokenizer.model").unlink()
    (folder / "tokenizer.model").mkdir()

    problems = {p.path.split("/")[-1]: p.what for p in verify(folder)}

    assert problems["tokenizer.model"] == problems[first.name] == "missing"
    assert "the manifest says" in problems[second.name]
    assert "not in the manifest" in problems["extra.arrow"]
    assert len(problems) == 4


def spoiled(number, **changes):
    """Row `number` with single values changed: name=(place, value)."""
    row = random_row(number)
    for name, (place, value) in changes.items():
        row[name] = [*row[name][:place], value, *row[name][place + 1 :]]
    return row


ROW = random_row(50)
CONTEXT, REAL = ROW["context_length"], ROW["length"]
RULES = {
    "0 < context_length < length <= sequence_length": ROW | {"context_length": REAL},
    "ids lie below vocabulary_size": spoiled(50, target_ids=(CONTEXT, 300)),
    "objective is a known code": ROW | {"objective": 99},
    "language indexes the manifest's languages": ROW | {"language": 2},
    "padding is the pad id, zeros elsewhere": spoiled(50, position_ids=(31, 1)),
    "padding's targets are zero or the pad id": spoiled(50, target_ids=(31, 3)),
    "Part A: positions are 0, 1, 2, ...": spoiled(50, position_ids=(0, 1)),
    "Part A: block positions are 0": spoiled(50, block_position_ids=(0, 1)),
    "Part A: no loss": spoiled(50, loss_mask=(0, 1)),
    "Part A: targets are its tokens": spoiled(50, target_ids=(0, 299)),
    "Part B: loss is 1 on every token": spoiled(50, loss_mask=(CONTEXT + 1, 0)),
    "loss is 0 or 1": spoiled(50, loss_mask=(CONTEXT + 1, 2)),
    "Part B: begins with sop": spoiled(50, input_ids=(CONTEXT, 5)),
    "sop stands in Part B only": spoiled(50, input_ids=(0, SPECIAL["sop"])),
    "eop is never an input": spoiled(50, input_ids=(0, SPECIAL["eop"])),
    "mask tokens stand in Part A only": spoiled(50, input_ids=(CONTEXT + 1, SPECIAL["mask"])),
    "no cls in a span but a document-level one": {
        **random_row(0), "input_ids": [*random_row(0)["input_ids"][: random_row(0)["length"] - 1], SPECIAL["cls"]]
        + [SPECIAL["pad"]] * (LENGTH - random_row(0)["length"]),
    },
    "Part B: block positions are 1, 2, ... in each span": spoiled(50, block_position_ids=(CONTEXT, 0)),
    "Part B: a span keeps one position": spoiled(50, position_ids=(CONTEXT + 1, 0)),
    "Part B: targets are the next token, eop after the last": spoiled(50, target_ids=(REAL - 1, 7)),
    "at least one span": ROW | {"context_length": 3, "length": 3},
    "no empty span": ROW | {"length": CONTEXT + 1},
    "as many mask tokens as spans": spoiled(50, input_ids=(4, 9)),
    "one kind of mask token in a row": spoiled(50, input_ids=(0, SPECIAL["mask"])),
    "a span's position is that of a mask token": ROW | {"position_ids": [*ROW["position_ids"][:CONTEXT], *[0] * 22]},
    "no two spans at one mask token": spoiled(50, input_ids=(CONTEXT + 3, SPECIAL["sop"])),
    "sentence_ends rise and lie in the text": ROW | {"sentence_ends": [4, 4]},
    "document_ids name a document": ROW | {"document_ids": []},
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_a_row_that_breaks_a_rule_is_named(tmp_path, rule):
    row = RULES[rule]
    for name in MATRIX_COLUMNS:
        row[name] = (row[name] + [0] * LENGTH)[:LENGTH]
    write_build(tmp_path / "b", changes={50: row})

    problems = list(verify(tmp_path / "b"))

    assert {p.path for p in problems} == {"shards/part-00001-of-00003.arrow"}
    assert {p.place for p in problems} == {"row 10 (sample 50 of the build)"}
    assert any(rule in p.what for p in problems), problems


def test_fine_tuning_rows_may_leave_loss_out(tmp_path):
    write_build(tmp_path / "b", changes={50: spoiled(50, loss_mask=(CONTEXT + 1, 0)) | {"objective": 3}})

    assert list(verify(tmp_path / "b")) == []


def test_a_shard_of_other_columns_with_a_right_hash_is_told(build, tmp_path):
    folder = copied(build, tmp_path / "b")
    path = folder / "shards/part-00000-of-00003.arrow"
    other = shard_schema(LENGTH, 70000)
    info = write_shard(
        path, other, [batch_of([random_row(n) for n in range(a, a + 8)], other) for a in range(0, 40, 8)]
    )

    def point_at_it(content):
        shard = content["shards"][0]
        shard.update(bytes=info.bytes, xxh3=info.xxh3, record_batches=list(info.record_batches))
        content["fingerprint"] = fingerprint_of([s["xxh3"] for s in content["shards"]])

    rewritten_manifest(folder, point_at_it)

    assert [p.place for p in verify(folder)] == ["schema"]
    with pytest.raises(ShardCorruptError, match="record batch 0"):
        Shards(folder).row(0)
