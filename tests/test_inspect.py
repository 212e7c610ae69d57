"""What `glmdata inspect` finds out: statistics, sources, samples, documents, states; all against plain Python."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from building import run
from commands import glmdata
from corpora import document, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from glmdata.histograms import histograms
from glmdata.infilling.restore import restore
from glmdata.infilling.segments import split_segments
from glmdata.ledger import Ledger
from glmdata.samples import SampleReader, attention_sketch
from glmdata.shards.reader import Shards
from glmdata.shards.schema import OBJECTIVES
from glmdata.shards.statistics import RATIO_BINS, shard_statistics
from glmdata.shares import OTHERS, Tally, count_shares, fold_sources

KINDS = {
    "plain": (),
    "compact": ("shards.layout=compact",),
    "segments": ("packing=segments",),
    "compact-segments": ("packing=segments", "shards.layout=compact"),
    "sentinels": ("spans.sentinels=40", "spans.random_positions=true"),
    "open-suffix": ("spans.document_eop=false", "spans.document_infill=0.0"),
}


@pytest.fixture(scope="module", params=KINDS)
def built(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    run(corpus, out, *KINDS[request.param])
    return out


@pytest.fixture(scope="module")
def plain(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "out"
    run(corpus, out)
    return out


def shown(*arguments: object) -> dict:
    """A command's object on stdout, and nothing else there."""
    done = glmdata(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def documents_of(tokens: list[int], special: dict[str, int]) -> list[int]:
    """For each token how long the run between special tokens is that it is in."""
    walls = [-1, *(at for at, token in enumerate(tokens) if token in (special["cls"], special["eos"])), len(tokens)]
    return [
        next(b for b in walls if b >= at) - max(a for a in walls if a < at or a == at) - 1 if at not in walls else 0
        for at in range(len(tokens))
    ]


def test_statistics_are_those_of_rows_taken_apart_one_by_one(built: Path) -> None:
    shards = Shards(built)
    special = shards.manifest.tokenizer.special_tokens
    lengths, spans, masked, before = Counter(), {}, Counter(), Counter()
    ratios, shares, documents = {}, Counter(), Counter()
    for number in range(shards.rows):
        row = shards.row(number)
        name, restored = OBJECTIVES[int(row["objective"])], restore(row, shards.style)
        sizes = [int(end - start) for start, end in restored.spans]
        lengths[int(row["length"])] += 1
        spans.setdefault(name, Counter()).update(sizes)
        masked[name] += sum(sizes)
        before[name] += len(restored.tokens)
        ratios.setdefault(name, Counter())[min(sum(sizes) * RATIO_BINS // len(restored.tokens), RATIO_BINS - 1)] += 1
        documents[len(row["document_ids"])] += 1
        if name == "document":
            around = documents_of(restored.tokens.tolist(), special)
            for (start, end), size in zip(restored.spans.tolist(), sizes, strict=True):
                closed = end - (restored.tokens[end - 1] == special["eos"])  # an open suffix may take in the eos
                shares[min(size * RATIO_BINS // max(around[start], closed - start), RATIO_BINS - 1)] += 1
    found = shard_statistics(shards)
    assert found.rows == found.build_rows == shards.rows
    assert dict(enumerate(found.lengths.tolist())) == {at: lengths[at] for at in range(len(found.lengths))}
    assert found.documents.tolist() == [documents[at] for at in range(17)]
    assert set(found.objectives) == set(spans) == {"token", "sentence", "document"}
    for name, one in found.objectives.items():
        assert {at: n for at, n in enumerate(one.span_lengths.tolist()) if n} == spans[name]
        assert (one.masked, one.tokens) == (masked[name], before[name])
        assert {at: n for at, n in enumerate(one.mask_ratios.tolist()) if n} == ratios[name]
    if shards.style.sentinels == 0 and shards.manifest.span_settings.document_eop:
        assert {at: n for at, n in enumerate(found.document_shares.tolist()) if n} == shares


def test_statistics_of_a_part_of_the_build_say_so(plain: Path) -> None:
    shards = Shards(plain)
    found = shard_statistics(shards, max_batches=1)
    assert found.rows == min(shards.rows, shards.manifest.rows_per_record_batch) <= found.build_rows == shards.rows


def test_histograms_lose_nothing(built: Path) -> None:
    shards = Shards(built)
    statistics = shard_statistics(shards)
    charts = {chart.key: chart for chart in histograms(statistics, count_shares(Ledger(built)), shards.manifest)}
    assert sum(charts["lengths"].counts) == sum(charts["objectives"].counts) == sum(charts["documents"].counts)
    for name, one in statistics.objectives.items():
        assert sum(charts[f"{name}_spans"].counts) == one.spans
        assert sum(charts[f"{name}_mask_ratios"].counts) == one.rows
    for chart in charts.values():
        assert len(chart.labels) == len(chart.counts) == len(set(chart.labels))
        assert len(chart.expected) in (0, len(chart.labels))
        if chart.expected:
            assert sum(chart.expected) == pytest.approx(1)


def test_shares_are_those_of_the_ledger(plain: Path) -> None:
    rows = [row for path in sorted((plain / "ledger").glob("*")) for row in pq.read_table(path).to_pylist()]
    found = count_shares(Ledger(plain))
    for tallies, key in ((found.sources, "uri"), (found.languages, "language")):
        assert {name: tally.records for name, tally in tallies.items()} == Counter(
            row[key] or "unknown" for row in rows
        )
        assert {name: tally.tokens for name, tally in tallies.items() if tally.tokens} == {
            name: count
            for name in tallies
            if (count := sum(r["tokens"] for r in rows if (r[key] or "unknown") == name and r["outcome"] == "kept"))
        }


uris = st.lists(st.sampled_from(["a", "b", "c", "long name"]), min_size=1, max_size=5).map("/".join)


@given(st.dictionaries(st.tuples(uris, st.integers(0, 99)).map(lambda u: f"{u[0]}/{u[1]}.txt"), st.integers(1, 9)))
def test_sources_are_folded_into_few_without_loss(records: dict[str, int]) -> None:
    found = fold_sources({name: Tally(count, 2 * count, Counter(kept=count)) for name, count in records.items()})
    assert len(found) <= 12
    assert sum(tally.records for tally in found.values()) == sum(records.values())
    for name, tally in found.items():
        if name != OTHERS:
            inside = [
                count for uri, count in records.items() if uri == name or (name[-1] == "/" and uri.startswith(name))
            ]
            assert tally.records == tally.kept == sum(inside)


def test_parts_of_a_sample_make_up_its_text_and_point_at_their_spans(built: Path) -> None:
    reader = SampleReader(Shards(built))
    for number in range(0, reader.shards.rows, 5):
        sample = reader.read(number)
        assert [part.start for part in sample.parts] == np.cumsum([0] + [p.length for p in sample.parts])[:-1].tolist()
        texts = []
        for part, columns in zip(sample.parts, split_segments(sample.row, reader.shards.style), strict=True):
            text = list(part.texts)
            for place, span in enumerate(part.spans):
                text.insert(2 * place + 1, span.text)
                assert int(columns["input_ids"][span.mask]) in reader.shards.style.all_mask_ids()
                assert int(columns["input_ids"][span.first]) in reader.shards.style.all_sop_ids()
                targets = columns["target_ids"][span.first : span.stop].tolist()
                assert targets[: span.end - span.start] == [
                    int(token) for token in restore(columns, reader.shards.style._replace(apart=False)).tokens[
                        span.start : span.end
                    ]
                ]  # fmt: skip
            texts.append("".join(text))
        if "\\x" not in "".join(texts):
            assert "".join(texts) == sample.text


def test_the_attention_sketch_is_the_mask_of_the_row(built: Path) -> None:
    reader = SampleReader(Shards(built))
    for number in (0, reader.shards.rows // 2):
        sample = reader.read(number)
        owner = [(place, part) for place, part in enumerate(sample.parts) for _ in range(part.length)]
        mask = [
            [
                owner[q][0] == owner[k][0] and (k <= q or k < owner[k][1].start + owner[k][1].context_length)
                for k in range(sample.length)
            ]
            for q in range(sample.length)
        ]
        assert attention_sketch(sample.parts, sample.length, sample.length).tolist() == mask
        assert attention_sketch(sample.parts, sample.length, 8).shape == (8, 8)


def test_stats_are_told_in_words_and_as_json(plain: Path) -> None:
    done = glmdata("inspect", plain, "--stats", COLUMNS="80")
    assert done.returncode == 0, done.stderr
    for word in ("samples by objective", "Poisson", "text tokens by source", "en/c.txt", "█", "│"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    found = shown("inspect", plain, "--stats")
    assert sum(found["lengths"].values()) == found["rows"] == sum(found["languages"].values())
    assert sum(tally["records"] for tally in found["records_by_source"].values()) == 189


def test_random_samples_are_a_function_of_the_seed(plain: Path) -> None:
    numbers = [
        [sample["sample"] for sample in shown("inspect", plain, "--random", 7, "--seed", seed)["samples"]]
        for seed in (1, 1, 2)
    ]
    assert numbers[0] == numbers[1] != numbers[2]
    assert len(set(numbers[0])) == 7
    text = glmdata("inspect", plain, "--random", 2, "--seed", 1).stdout
    assert [line.split()[1] for line in text.splitlines() if line.startswith("sample ")] == [*map(str, numbers[0][:2])]


def test_arrows_go_from_masks_to_spans(plain: Path) -> None:
    found = shown("inspect", plain, "--sample", 2)
    special = Shards(plain).style
    arrows = [arrow for segment in found["segments"] for arrow in segment["arrows"]]
    assert len(arrows) == len(found["spans"])
    for arrow in arrows:
        assert found["input_ids"][arrow["mask"]] in special.all_mask_ids()
        assert found["input_ids"][arrow["span"][0]] in special.all_sop_ids()
    assert glmdata("inspect", plain, "--sample", 2).stdout.count("──▸") == len(arrows)


def test_a_document_is_found_by_id_and_by_place_in_the_rows_that_hold_it(plain: Path) -> None:
    sample = shown("inspect", plain, "--sample", 1)
    wanted = sample["documents"][0]
    by_place = shown("inspect", plain, "--document", f"{wanted['uri']}:{wanted['record']}")
    assert by_place == shown("inspect", plain, "--document", wanted["document_id"])
    assert 1 in by_place["rows"]
    for row in by_place["rows"]:
        documents = shown("inspect", plain, "--sample", row)["documents"]
        assert wanted["document_id"] in [document["document_id"] for document in documents]
    gone = shown("inspect", plain, "--document", "bad.jsonl:0")
    assert (gone["outcome"], gone["rows"]) == ("quarantined", [])
    assert "glmdata why" in glmdata("inspect", plain, "--document", "bad.jsonl:0").stdout


@pytest.mark.parametrize("rows", [None, (10, 55)])
def test_a_state_tells_where_it_stands_and_what_comes_next(
    plain: Path, tmp_path: Path, rows: tuple[int, int] | None
) -> None:
    pytest.importorskip("torch")
    from glmdata.streaming import ShardStream

    stream = ShardStream(plain, 4, seed=11, dp_rank=1, dp_world=2, rows=rows)
    batches = iter(stream)
    for _ in range(5):
        next(batches)
    state = stream.state_dict()
    (tmp_path / "state.json").write_text(json.dumps(state))
    ahead = next(batches)["sample_id"].tolist()
    options = ("--state", tmp_path / "state.json", "--rank", 1, "--world", 2, "--batch-size", 4)
    found = shown("inspect", plain, *options)
    assert found["fits"] is True
    assert found["state"] == state
    assert [sample["sample_id"] for sample in found["next"]["samples"]] == ahead
    assert found["epoch"] * found["samples"] + found["samples_in_epoch"] == 40
    at = shown("inspect", plain, *options, "--at", 5)
    assert [sample["sample_id"] for sample in at["samples"]] == ahead
    assert "next batch of rank 1 of 2" in glmdata("inspect", plain, *options).stdout


def test_a_state_of_another_build_or_no_state_is_told(plain: Path, tmp_path: Path) -> None:
    good = {"order_version": 1, "fingerprint": "f" * 32, "seed": 1, "shuffle": True, "samples_consumed": 5}
    file = tmp_path / "state.json"
    file.write_text(json.dumps(good))
    done = glmdata("inspect", plain, "--state", file, "--json")
    assert (done.returncode, json.loads(done.stdout)["fits"]) == (1, False)
    assert "another one" in glmdata("inspect", plain, "--state", file).stdout
    refused = glmdata("inspect", plain, "--state", file, "--at", 3)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    for text in (
        "",
        "[]",
        "{}",
        json.dumps(good | {"seed": -1}),
        json.dumps(good | {"order_version": 9}),
        json.dumps(good | {"rows": [1]}),
        "[" * 9999,
    ):
        file.write_text(text)
        done = glmdata("inspect", plain, "--state", file)
        assert done.returncode == 2, text[:80]
        assert str(file) in done.stderr
        assert "Traceback" not in done.stderr
    assert glmdata("inspect", plain, "--state", tmp_path / "none.json").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sample", 1, "--stats"), "give one of"),
        (("--random", 2, "--document", "x:0"), "give one of"),
        (("--seed", 3), "--seed goes with"),
        (("--random", 1 << 19), "samples"),
        (("--state", "x.json", "--seed", 1), "--seed or --state"),
    ],
)
def test_options_that_do_not_go_together_are_refused(plain: Path, arguments: tuple, message: str) -> None:
    done = glmdata("inspect", plain, *arguments)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_what_a_corpus_holds_cannot_move_the_cursor(tmp_path: Path) -> None:
    texts = [f"\x1b[31mred\x1b]0;title\x07 {document('en', i)} \x9b2J \u202eback" for i in range(12)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", texts)
    run(tmp_path / "corpus", tmp_path / "out", "normalization.control_characters=keep", "balance.languages={en: 1}")
    for options in (("--sample", 0, "--all"), ("--random", 3), ("--at", 0), ("--document", "a.jsonl:0"), ("--stats",)):
        printed = glmdata("inspect", tmp_path / "out", *options).stdout
        assert not set(printed) & {"\x1b", "\x07", "\x9b", "\u202e"}, options


def test_every_object_goes_through_a_pipe_that_closes(plain: Path) -> None:
    for options in ("--stats", "--random 5", "--random 5 --json"):
        command = f"{sys.executable} -m glmdata.cli inspect {plain} {options} | head -c 10"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr == ""


def test_a_stream_that_masks_anew_is_shown_with_the_masks_of_its_epoch(plain: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from glmdata.streaming import ShardStream

    stream = ShardStream(plain, 4, seed=3, remask=True)
    size = stream.plan()["samples"]
    step = size // 4 + 2
    stream.load_state_dict(stream.state_dict() | {"samples_consumed": 4 * step})
    (tmp_path / "state.json").write_text(json.dumps(stream.state_dict()))
    batch = next(iter(stream))
    options = ("--at", step, "--batch-size", 4)
    found = shown("inspect", plain, *options, "--seed", 3, "--remask")
    assert (found["epoch"], found["remask"]) == (1, True)
    for place, sample in enumerate(found["samples"]):
        assert sample["sample_id"] == int(batch["sample_id"][place])
        assert sample["context_length"] == int(batch["context_length"][place])
        hidden = sum(end - start for start, end in sample["spans"])
        assert hidden + len(sample["spans"]) == int(batch["loss_mask"][place].sum())
    assert found["samples"] == shown("inspect", plain, *options, "--state", tmp_path / "state.json")["samples"]
    state = shown("inspect", plain, "--state", tmp_path / "state.json", "--batch-size", 4)
    assert found["samples"] == state["next"]["samples"]
    first = shown("inspect", plain, *options, "--seed", 3)["samples"]
    assert [sample["text"] for sample in first] == [sample["text"] for sample in found["samples"]]
    assert [sample["spans"] for sample in first] != [sample["spans"] for sample in found["samples"]]
    assert "masks anew each epoch" in glmdata("inspect", plain, *options, "--remask").stdout
    refused = glmdata("inspect", plain, "--sample", 0, "--remask")
    assert (refused.returncode, "--remask goes with --at" in refused.stderr) == (2, True)
