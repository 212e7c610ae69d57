"""Real builds of both layouts, and streams of them with and without fresh masks."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from corpora import write_corpus
from progress import Stops

from glmdata.errors import ConfigError, ShardCorruptError
from glmdata.infilling.restore import restore
from glmdata.pipelines.build import build
from glmdata.pipelines.local import ThreadExecutor
from glmdata.recipe import load_recipe
from glmdata.shards.invariants import broken_rules
from glmdata.shards.manifest import Manifest, fingerprint_of
from glmdata.shards.reader import Shards
from glmdata.shards.schema import MATRIX_COLUMNS, SCALAR_COLUMNS
from glmdata.shards.verify import verify
from glmdata.shards.writer import write_shard

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")

VARIED = (
    "spans={sentinels: 9, document_eop: false, block_mask_ratio: 0.1, random_positions: true, block_positions: false}"
)
STYLES = {"plain": [], "varied": [VARIED], "segments": ["packing=segments"]}
SETTINGS = ["sequence_length=128", "tokenizer.vocabulary_size=800", "shards.rows=32", "shards.rows_per_record_batch=8"]


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """{(style, layout): folder} of the same corpus."""
    root = tmp_path_factory.mktemp("masks")
    write_corpus(root / "corpus", 56)
    found = {}
    for (style, changes), layout in itertools.product(STYLES.items(), ("materialised", "compact", "zstd")):
        settings = [*SETTINGS, *changes]
        settings += ["shards.compression=zstd"] if layout == "zstd" else []
        settings += ["shards.layout=compact"] if layout != "materialised" else []
        folder = root / f"{style}-{layout}"
        made = build(
            [str(root / "corpus")],
            folder,
            load_recipe("glm", settings),
            make_executor=lambda _: ThreadExecutor(2),
            progress=Stops(),
        )
        assert made.manifest["counts"]["rows"] > 60
        found[style, layout] = folder
    return found


def stream_of(folder, batch_size=7, **options):
    from glmdata.streaming import ShardStream

    return ShardStream(folder, batch_size, **options)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("layout", ["materialised", "compact", "zstd"])
def test_builds_of_every_style_and_layout_are_as_they_should_be(builds, style, layout):
    assert list(verify(builds[style, layout])) == []


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("layout", ["compact", "zstd"])
def test_compact_rows_are_the_materialised_ones(builds, style, layout):
    one, other = Shards(builds[style, "materialised"]), Shards(builds[style, layout])
    assert one.rows == other.rows
    everything = np.arange(one.rows)[::-1]
    ours, theirs = other.take(everything), one.take(everything)
    for name in (*MATRIX_COLUMNS, *SCALAR_COLUMNS):
        assert ours[name].dtype == theirs[name].dtype
        assert np.array_equal(ours[name], theirs[name]), name
    assert other.take(everything[:0])["input_ids"].shape == (0, 128)
    for number in range(0, one.rows, 7):
        wanted, got = one.row(number), other.row(number)
        assert list(got) == list(wanted)
        assert all(np.array_equal(got[name], wanted[name]) for name in wanted)


def test_compact_shards_are_about_a_quarter_of_the_bytes(builds):
    sizes = {
        layout: sum(shard.bytes for shard in Manifest.load(builds["plain", layout]).shards)
        for layout in ("materialised", "compact")
    }
    # Rows of 128 have two names of 16 bytes like those of 512, and an IPC message of 8 rows a head like one of 64.
    assert sizes["compact"] / sizes["materialised"] < 0.45


@pytest.mark.parametrize("remask", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_batches_of_both_layouts_are_equal_through_epochs(builds, style, remask):
    streams = [
        stream_of(builds[style, layout], seed=3, epochs=3, remask=remask) for layout in ("materialised", "compact")
    ]
    batches = 0
    for one, other in zip(*streams, strict=True):
        assert equal(one, other)
        batches += 1
    assert batches == streams[0].plan()["steps"]
    assert streams[0].reduced_tokens == streams[1].reduced_tokens


@pytest.mark.parametrize("layout", ["materialised", "compact"])
def test_fresh_masks_begin_with_the_second_epoch_and_keep_the_text(builds, layout):
    folder = builds["varied", layout]
    shards = Shards(folder)
    rows, style = shards.rows, shards.manifest.style
    ids = {int(name): row for row, name in enumerate(shards.take(np.arange(rows), ["sample_id"])["sample_id"])}
    text = [restore(shards.row(row), style).tokens.tolist() for row in range(rows)]
    stream, plain = stream_of(folder, 1, seed=3, epochs=2, remask=True), stream_of(folder, 1, seed=3, epochs=2)
    changed = 0
    for place, (fresh, stored) in enumerate(zip(stream, plain, strict=True)):
        assert torch.equal(fresh["sample_id"], stored["sample_id"])
        if place < rows:
            assert equal(fresh, stored)
            continue
        changed += not torch.equal(fresh["target_ids"], stored["target_ids"])
        row = ids[int(fresh["sample_id"])]
        length = int((fresh["loss_mask"][0] > 0).nonzero()[-1]) + 1
        found = restore(
            {
                "input_ids": fresh["input_ids"][0],
                "target_ids": fresh["target_ids"][0],
                "position_ids": fresh["position_ids"][0, 0],
                "context_length": fresh["context_length"][0],
                "length": length,
            },
            style,
        )
        assert found.tokens.tolist() == text[row]
    assert changed > 0.9 * rows


@pytest.mark.parametrize("layout", ["materialised", "compact"])
def test_fresh_masks_do_not_depend_on_ranks_batches_or_the_order(builds, layout):
    folder = builds["plain", layout]
    rows = Shards(folder).rows

    def by_sample(**options):
        found = {}
        world = options.get("dp_world", 1)
        for rank in range(world):
            stream = stream_of(folder, **{**options, "dp_rank": rank}, epochs=3, remask=True)
            for seen, batch in enumerate(stream):
                for place, sample in enumerate(batch["sample_id"].tolist()):
                    position = seen * world * stream.batch_size + rank * stream.batch_size + place
                    if position < 3 * rows:
                        found[position // rows, sample] = {k: v[place] for k, v in batch.items()}
        return found

    wanted = by_sample(batch_size=7, seed=3)
    assert len(wanted) == 3 * rows
    for options in ({"batch_size": 5, "seed": 9}, {"batch_size": 3, "dp_world": 4, "seed": 3}, {"shuffle": False}):
        got = by_sample(**options)
        assert got.keys() == wanted.keys()
        assert all(equal(got[key], wanted[key]) for key in wanted)


@pytest.mark.parametrize(("layout", "workers"), [("materialised", 2), ("compact", 3)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_fresh_masks_do_not_depend_on_workers(builds, layout, workers):
    stream = stream_of(builds["plain", layout], seed=3, epochs=2, remask=True)
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers, multiprocessing_context="fork")

    made = list(loader)
    wanted = list(stream_of(builds["plain", layout], seed=3, epochs=2, remask=True))
    assert len(made) == len(wanted)
    assert all(equal(one, other) for one, other in zip(made, wanted, strict=True))


@pytest.mark.parametrize("layout", ["materialised", "compact"])
def test_a_run_with_fresh_masks_resumes_in_the_middle_of_an_epoch(builds, layout):
    whole = list(itertools.islice(stream_of(builds["plain", layout], seed=3, remask=True), 40))
    stream = stream_of(builds["plain", layout], seed=3, remask=True)
    for _ in itertools.islice(stream, 23):
        pass
    state = json.loads(json.dumps(stream.state_dict()))
    assert stream.plan()["epoch"] >= 1
    resumed = stream_of(builds["plain", layout], seed=3, remask=True)
    resumed.load_state_dict(state)

    assert all(equal(a, b) for a, b in zip(itertools.islice(resumed, 17), whole[23:], strict=True))


def test_a_state_belongs_to_fresh_masks_or_to_the_stored_ones(builds):
    stream = stream_of(builds["plain", "compact"], remask=True)
    plain = stream_of(builds["plain", "compact"])
    with pytest.raises(ConfigError, match="remask=True"):
        plain.load_state_dict(stream.state_dict())
    old = {key: value for key, value in plain.state_dict().items() if key != "remask"}
    plain.load_state_dict(old)
    with pytest.raises(ConfigError, match="remask=False"):
        stream.load_state_dict(old)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("span_ends", lambda values: [values[0] - 50, *values[1:]]),
        ("span_starts", lambda values: values[:-1]),
        ("span_order", lambda values: [len(values), *values[1:]]),
        ("tokens", lambda values: values[:3]),
        ("sentence_ends", lambda values: [0, *values[1:]]),
    ],
)
def test_a_compact_row_that_does_not_hang_together_is_named(builds, tmp_path, name, change):
    """Written so on purpose, with hashes that are right."""
    import pyarrow as pa

    folder, source = tmp_path / "b", builds["plain", "compact"]
    manifest, shards = json.loads((source / "manifest.json").read_text("utf-8")), Shards(source)
    for path in source.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(source)).write_bytes(path.read_bytes())
    batches = [shards.batch(number) for number in range(len(manifest["shards"][0]["record_batches"]))]
    lists = batches[0].column(name).to_pylist()
    row = next(i for i, values in enumerate(lists) if len(values) > 1)
    lists[row] = [abs(value) for value in change(lists[row])]
    place = shards.schema.get_field_index(name)
    columns = [pa.array(lists, shards.schema.field(name).type) if i == place else c for i, c in enumerate(batches[0])]
    batches[0] = pa.RecordBatch.from_arrays(columns, schema=shards.schema)
    info = write_shard(folder / manifest["shards"][0]["path"], shards.schema, batches)
    manifest["shards"][0] |= {"xxh3": info.xxh3, "bytes": info.bytes, "record_batches": list(info.record_batches)}
    manifest["fingerprint"] = fingerprint_of([shard["xxh3"] for shard in manifest["shards"]])
    del manifest["checksum"]
    (folder / "manifest.json").write_text(Manifest.model_validate(manifest).dumps(), "utf-8")

    problems = [problem.what for problem in verify(folder)]
    assert problems
    if name != "sentence_ends":
        with pytest.raises(ShardCorruptError, match="sample"):
            list(stream_of(folder, epochs=1))
    with pytest.raises(ShardCorruptError, match="sample"):
        list(stream_of(folder, epochs=2, remask=True))


@pytest.mark.parametrize(
    ("name", "change", "rule"),
    [
        ("segment_starts", lambda values: [values[0], *[value + 1 for value in values[1:]]], "segment_starts are"),
        ("segment_starts", lambda values: values[:-1], "segment_starts are"),
        ("segment_context_lengths", lambda values: [values[0] + 1, *values[1:]], "segment_context_lengths are"),
        ("position_ids", lambda values: list(range(len(values))), "Part A: positions are 0, 1, 2"),
        ("loss_mask", lambda values: [0] * len(values), "Part B: loss is 1"),
        ("sentence_ends", lambda values: [*values, 500], "sentence_ends rise"),
    ],
)
def test_rules_that_rows_of_segments_break_are_named(builds, name, change, rule):
    shards = Shards(builds["segments", "materialised"])
    batch = shards.batch(0)
    many = next(row for row in range(batch.num_rows) if len(batch.column("segment_starts")[row]) > 1)
    assert list(broken_rules(batch, shards.manifest)) == []

    rows = batch.column(name).to_pylist()
    rows[many] = change(rows[many])
    place = batch.schema.get_field_index(name)
    damaged = batch.set_column(place, batch.schema.field(place), pa.array(rows, batch.schema.field(place).type))
    found = dict(broken_rules(damaged, shards.manifest))

    assert [told for told in found if told.startswith(rule)]
    assert all(np.flatnonzero(bad).tolist() == [many] for bad in found.values())


def test_batches_of_segments_say_what_sees_what(builds):
    shards = Shards(builds["segments", "materialised"])
    batch = next(iter(stream_of(builds["segments", "compact"], shards.rows, shuffle=False)))
    for row in range(shards.rows):
        stored, ids = shards.row(row), batch["segment_ids"][row].tolist()
        starts, contexts = stored["segment_starts"].tolist(), stored["segment_context_lengths"].tolist()
        stops = [*starts[1:], stored["length"], 128]
        assert ids == [number for number, (a, b) in enumerate(itertools.pairwise([0, *stops])) for _ in range(a, b)]
        ends = [start + context for start, context in zip(starts, contexts, strict=True)] + [0]
        assert batch["segment_context_ends"][row].tolist() == [ends[number] for number in ids]
        assert batch["context_length"][row] == contexts[0]
