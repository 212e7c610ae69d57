"""Streams of documents cut, repeated and dealt out to buckets, against plain lists of tokens."""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.balance import quotas
from glmdata.pipelines.balance import BalanceArguments, plan_quotas, read_plan
from glmdata.pipelines.engine import Attempt, FileRef
from glmdata.pipelines.partitions import write_columns
from glmdata.pipelines.streams import Plan, Stretch, stretch_of
from glmdata.pipelines.tokenize import ORDER_BINS
from glmdata.recipe import BalanceSettings

LONGEST_SENTENCE = 40


class Text(NamedTuple):
    """A document as the tokenize stage leaves it."""

    key: int
    identity: bytes
    tokens: list[int]
    ends: list[int]


def texts(language: int) -> st.SearchStrategy[list[Text]]:
    """Documents of sentences of 1 to 30 tokens, numbered through, so that every token is told from every other."""
    keys = st.integers(0, (1 << 64) - 1) | st.integers(0, 3)  # some keys are equal, some ranges hold several
    sentences = st.lists(st.integers(1, 30), min_size=1, max_size=6)

    def made(drawn: list[tuple[int, list[int]]]) -> list[Text]:
        numbers, found = itertools.count(language * 20_000), []
        for place, (key, lengths) in enumerate(drawn):
            ends = list(itertools.accumulate(lengths))
            found.append(Text(key, bytes([language, place]) * 8, [next(numbers) for _ in range(ends[-1])], ends))
        return found

    return st.lists(st.tuples(keys, sentences), min_size=1, max_size=12).map(made)


def written(folder: Path, languages: list[list[Text]], files: int) -> tuple[list[FileRef], list[FileRef]]:
    """tokens.arrow and bins.arrow of all documents, dealt out to some files."""
    tokens, bins = [], []
    for file in range(files):
        rows = sorted(
            (language, text.key, text.identity, text)
            for language, found in enumerate(languages)
            for place, text in enumerate(found)
            if place % files == file
        )
        columns = {
            "language": np.array([row[0] for row in rows], np.uint8),
            "key": np.array([row[1] for row in rows], np.uint64),
            "row": np.arange(len(rows), dtype=np.uint32),
            "length": np.array([len(row[3].tokens) for row in rows], np.int64),
            "characters": np.array([3 * len(row[3].tokens) for row in rows], np.int64),
            "document_id": pa.array([row[2] for row in rows], pa.binary(16)),
            "tokens": pa.array([row[3].tokens for row in rows], pa.large_list(pa.uint16())),
            "sentence_ends": pa.array([row[3].ends for row in rows], pa.large_list(pa.uint32())),
        }
        write_columns(str(folder / f"tokens-{file}"), columns)
        counted = {
            "bin": np.array([row[0] * ORDER_BINS + (row[1] >> 48) for row in rows], np.int64),
            "tokens": columns["length"],
            "characters": columns["characters"],
            "documents": np.ones(len(rows), np.int64),
        }
        found = np.unique(counted["bin"])
        summed = {
            name: np.array([values[counted["bin"] == place].sum() for place in found], np.int64)
            for name, values in counted.items()
            if name != "bin"
        }
        write_columns(str(folder / f"bins-{file}"), {"bin": found, **summed})
        tokens.append(FileRef(path=f"tokens-{file}", bytes=0, xxh3=""))
        bins.append(FileRef(path=f"bins-{file}", bytes=0, xxh3=""))
    return tokens, bins


def planned(folder: Path, tokens: list[FileRef], bins: list[FileRef], asked: BalanceSettings) -> Plan:
    """The plan as the stage makes it."""
    attempt = Attempt(folder, "balance", 0, "a")
    (folder / "balance").mkdir(exist_ok=True)
    none = FileRef(path="", bytes=0, xxh3="")  # only characters ask for the tokenizer
    arguments = BalanceArguments(
        bins=tuple(bins), tokens=tuple(tokens), tokenizer=none, settings=asked, longest_sentence=LONGEST_SENTENCE
    )
    counts = plan_quotas(arguments, attempt)
    path = attempt.files["cumulative.arrow"].relative_to(folder)
    return read_plan(counts, tuple(asked.languages), FileRef(path=str(path), bytes=0, xxh3=""))


def in_order(found: list[Text]) -> list[Text]:
    return sorted(found, key=lambda text: (text.key, text.identity))


def size_of(found: list[Text], unit: str) -> int:
    return len(found) if unit == "document" else sum(len(text.tokens) for text in found)


def expected_stream(found: list[Text], unit: str, quota: int) -> list[int]:
    """The tokens of a language: all documents in order, pass after pass, cut behind a sentence or a document."""
    if unit == "document":
        return [token for text in (in_order(found) * 100)[:quota] for token in text.tokens]
    whole = [token for text in in_order(found) for token in text.tokens]
    ends = [0]
    for text in in_order(found):
        ends += [ends[-1] + end for end in text.ends]
    passes, rest = divmod(quota, len(whole))
    return whole * passes + whole[: max(end for end in ends if end <= rest)]


def check_stretch(stretch: Stretch, texts_by_id: dict[bytes, Text]) -> None:
    """Every document of a stretch is a run of its own tokens, whole but for the first and the last."""
    last = len(stretch.ids) - 1
    for place, identity in enumerate(stretch.ids):
        start, stop = stretch.offsets[place], stretch.offsets[place + 1]
        text, piece = texts_by_id[identity], stretch.tokens[start:stop].tolist()
        first = text.tokens.index(piece[0])
        assert text.tokens[first : first + len(piece)] == piece
        assert (first > 0) == (place == 0 and stretch.continued)
        assert (first + len(piece) < len(text.tokens)) == (place == last and not stretch.complete)
        ends = [int(end - start) for end in stretch.sentence_ends if start < end <= stop]
        assert ends == sorted({*(end - first for end in text.ends if 0 < end - first < len(piece)), len(piece)})


@settings(deadline=None, max_examples=60)
@given(
    zh=texts(0),
    en=texts(1),
    files=st.integers(1, 3),
    buckets=st.integers(1, 12),
    weight=st.sampled_from([0.01, 0.3, 1, 2, 50]),
    unit=st.sampled_from(["token", "document"]),
    strategy=st.sampled_from(["downsample", "upsample", "off"]),
    max_repeats=st.integers(1, 9),
)
def test_buckets_deal_out_every_pass_token_for_token(
    tmp_path_factory, zh, en, files, buckets, weight, unit, strategy, max_repeats
) -> None:
    folder = tmp_path_factory.mktemp("streams")
    asked = BalanceSettings(languages={"aa": weight, "bb": 1}, unit=unit, strategy=strategy, max_repeats=max_repeats)
    tokens, bins = written(folder, [zh, en], files)
    plan = planned(folder, tokens, bins, asked)
    there = {"aa": size_of(zh, unit), "bb": size_of(en, unit)}
    wanted = quotas(there, asked.languages, strategy, max_repeats)
    attempt = Attempt(folder, "assemble", 0, "a")
    for language, (code, found) in enumerate((("aa", zh), ("bb", en))):
        stretches = [stretch_of(attempt, tokens, plan, language, bucket, buckets) for bucket in range(buckets)]
        taken = [token for stretch in stretches for token in stretch.tokens.tolist()]
        assert taken == expected_stream(found, unit, wanted[code])
        assert len(taken) == plan.totals[language]
        assert plan.taken[language] == (wanted[code] if unit == "document" else len(taken))
        for stretch in stretches:
            check_stretch(stretch, {text.identity: text for text in found})
