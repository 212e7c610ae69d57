"""Verification: every flipped bit, missing file and broken rule is found and named."""

import random

import pytest
from damage import copied, rewritten_manifest
from synthetic import LENGTH, SPECIAL, batch_of, random_row, write_build

from glmdata.errors import ShardCorruptError, ShardError
from glmdata.shards.footer import record_batch_blocks
from glmdata.shards.manifest import Manifest, fingerprint_of
from glmdata.shards.reader import Shards
from glmdata.shards.schema import MATRIX_COLUMNS, shard_schema
from glmdata.shards.verify import verify
from glmdata.shards.writer import write_shard


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
