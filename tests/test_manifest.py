"""The manifest: as it was written, of which version, with names that stay in the folder, without contradictions."""

import pytest
from damage import copied, rewritten_manifest
from synthetic import VOCABULARY

from glmdata.errors import ShardCorruptError, ShardError
from glmdata.shards.manifest import Manifest, fingerprint_of


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
