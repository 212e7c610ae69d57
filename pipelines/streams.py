"""Every language is one long stream of tokens: its documents in the order of their keys, whatever files they came from.

A build takes a stream from its beginning: up to a limit, or whole, or several times over. All of that is arithmetic
over cumulative counts by range of keys: position p of a stream of T tokens is position p mod T of pass p // T, and
whoever wants a stretch reads the documents of its key ranges alone. Nothing is ever listed whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.gathering import copy_documents
from glmdata.pipelines.engine import Attempt, FileRef
from glmdata.pipelines.partitions import read_columns

__all__ = ["Limit", "Plan", "Stream", "Stretch", "read_stream", "stretch_of"]

_Lists: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.integer[Any]]]
"""Offsets and values."""

LONGEST_MOVE = 16
"""A bucket ends at a sentence end that is at most this part of a bucket away; a longer sentence is cut, as rows cut it,
so that buckets stay alike and the languages in step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where a pass through a stream ends early: this document is the last, and only so many of its tokens are taken."""

    key: int
    document_id: str
    tokens: int

    def order(self) -> tuple[int, bytes]:
        """Comparable with (key, document id) of documents."""
        return self.key, bytes.fromhex(self.document_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the build takes of each language's stream: `passes` whole ones, then one that ends at the limit (None: no
    such pass); and cumulative.arrow, the tokens before each range of keys.
    """

    languages: tuple[str, ...]
    unit: str
    """What the ratio counts: token, character or document."""
    totals: tuple[int, ...]
    """Tokens taken, of all passes."""
    lengths: tuple[int, ...]
    """Tokens of one whole pass."""
    documents: tuple[int, ...]
    """Documents of one whole pass."""
    passes: tuple[int, ...]
    limits: tuple[Limit | None, ...]
    available: tuple[int, ...]
    """Units of one whole pass."""
    taken: tuple[int, ...]
    """Units taken, of all passes."""
    cumulative: FileRef


@dataclass(frozen=True, slots=True)
class Stream:
    """Documents of one language in a range of order keys, in their order."""

    keys: npt.NDArray[np.uint64]
    ids: list[bytes]
    lengths: npt.NDArray[np.int64]
    characters: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Joined tokens of the documents in a stretch of one language's stream."""

    tokens: npt.NDArray[np.integer[Any]]
    offsets: npt.NDArray[np.int64]
    sentence_ends: npt.NDArray[np.int64]
    ids: list[bytes]
    continued: bool
    """Whether the first document began before the stretch."""
    complete: bool
    """Whether the last document ends where its text does."""


def read_stream(attempt: Attempt, tokens: Sequence[FileRef], language: int, first_bin: int, last_bin: int) -> Stream:
    """Documents of a language whose keys lie in the ranges [first_bin, last_bin), from all partitions, in order."""
    keys, ids = [np.zeros(0, np.uint64)], list[bytes]()
    lengths, characters, sources, rows = ([np.zeros(0, np.int64)] for _ in range(4))
    for source, file in enumerate(tokens):
        columns = read_columns(attempt, file)
        languages = columns["language"].to_numpy()
        start, stop = np.searchsorted(languages, [language, language + 1])
        found = columns["key"].to_numpy()[start:stop]
        bins = found >> np.uint64(48)
        low, high = start + np.searchsorted(bins, np.array([first_bin, last_bin], np.uint64))
        # Copies, so that no file stays mapped: a process may map 65,530 of them.
        keys.append(columns["key"].to_numpy()[low:high].copy())
        lengths.append(columns["length"].to_numpy()[low:high].copy())
        characters.append(columns["characters"].to_numpy()[low:high].copy())
        ids += columns["document_id"].slice(int(low), int(high - low)).to_pylist()
        sources.append(np.full(high - low, source, np.int64))
        rows.append(np.arange(low, high, dtype=np.int64))
    joined = np.concatenate(keys)
    halves = np.frombuffer(b"".join(ids), ">u8").reshape(-1, 2)
    order = np.lexsort((halves[:, 1], halves[:, 0], joined))
    return Stream(
        keys=joined[order],
        ids=[ids[place] for place in order],
        lengths=np.concatenate(lengths)[order],
        characters=np.concatenate(characters)[order],
        sources=np.concatenate(sources)[order],
        rows=np.concatenate(rows)[order],
    )


def stretch_of(
    attempt: Attempt, tokens: Sequence[FileRef], plan: Plan, language: int, bucket: int, buckets: int
) -> Stretch:
    """The part of a language's stream that belongs to a bucket, from sentence end to sentence end, pass after pass."""
    total, length = plan.totals[language], plan.lengths[language]
    start, stop = total * bucket // buckets, total * (bucket + 1) // buckets
    cumulative = read_columns(attempt, plan.cumulative)[plan.languages[language]].to_numpy()
    pieces, inner = [], None
    for repeat in range(start // max(1, length), -(-stop // max(1, length))):
        first, last = max(0, start - repeat * length), min(length, stop - repeat * length)
        limit = plan.limits[language] if repeat == plan.passes[language] else None
        if inner is not None and last - first == length and limit is None:
            pieces.append(inner)  # a stream that a bucket holds several times is read once
            continue
        pieces.append(_piece(attempt, tokens, language, cumulative, limit, first, last, total // buckets))
        if last - first == length and limit is None:
            inner = pieces[-1]
    return _joined(pieces)


def _piece(
    attempt: Attempt,
    tokens: Sequence[FileRef],
    language: int,
    cumulative: npt.NDArray[np.int64],
    limit: Limit | None,
    start: int,
    stop: int,
    bucket_tokens: int,
) -> Stretch:
    """The part of one pass between two positions, each moved to the sentence end before it."""
    low = max(0, int(np.searchsorted(cumulative, start, "right")) - 1)
    high = max(low, int(np.searchsorted(cumulative, stop, "left")))
    stream = read_stream(attempt, tokens, language, low, high)
    taken = _taken(stream, limit)
    begins = cumulative[low] + np.cumsum(stream.lengths) - stream.lengths
    lists = {source: _lists(read_columns(attempt, tokens[source])) for source in np.unique(stream.sources).tolist()}

    def at_sentence(position: int) -> int:
        """The last sentence end at or before a position, if it is near; the buckets on both sides find the same."""
        place = int(np.searchsorted(begins, position, "right")) - 1
        if place < 0 or position >= begins[place] + taken[place]:
            return position
        (offsets, values), row = lists[stream.sources[place]][1], stream.rows[place]
        ends = values[offsets[row] : offsets[row + 1]]
        before = int(np.searchsorted(ends, position - begins[place], "right"))
        found = int(begins[place] + (ends[before - 1] if before else 0))
        return found if position - found <= bucket_tokens // LONGEST_MOVE else position

    start, stop = at_sentence(start), at_sentence(stop)
    chosen = np.flatnonzero(np.minimum(begins + taken, stop) > np.maximum(begins, start))
    firsts, lasts = np.maximum(0, start - begins[chosen]), np.minimum(taken[chosen], stop - begins[chosen])
    joined, offsets, ends = _gathered(lists, stream.sources[chosen], stream.rows[chosen], firsts, lasts)
    return Stretch(
        tokens=joined,
        offsets=offsets,
        sentence_ends=ends,
        ids=[stream.ids[place] for place in chosen],
        continued=bool(len(chosen) and firsts[0] > 0),
        complete=bool(not len(chosen) or lasts[-1] == stream.lengths[chosen[-1]]),
    )


def _gathered(
    lists: dict[int, tuple[_Lists, _Lists]],
    sources: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    firsts: npt.NDArray[np.int64],
    lasts: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tokens [first, last) of some documents joined, offsets of the documents in them, and their sentence ends."""
    offsets = np.concatenate([[0], np.cumsum(lasts - firsts)])
    rooms = np.ones(len(rows), np.int64)
    mine = {source: np.flatnonzero(sources == source) for source in lists}
    for source, (_, (end_offsets, _)) in lists.items():
        rooms[mine[source]] += end_offsets[rows[mine[source]] + 1] - end_offsets[rows[mine[source]]]
    slots = np.cumsum(rooms) - rooms
    dtype = next((values.dtype for (_, values), _ in lists.values()), np.dtype(np.uint16))
    tokens, ends = np.empty(offsets[-1], dtype), np.full(rooms.sum(), -1, np.int64)
    for source, (token_lists, end_lists) in lists.items():
        copy_documents(mine[source], rows, firsts, lasts, offsets, slots, *token_lists, *end_lists, tokens, ends)
    return tokens, offsets, ends[ends >= 0]


def _lists(columns: pa.RecordBatch) -> tuple[_Lists, _Lists]:
    """Offsets and values of the tokens and of the sentence ends of all documents of a file."""
    tokens, ends = columns["tokens"], columns["sentence_ends"]
    return (tokens.offsets.to_numpy(), tokens.values.to_numpy()), (ends.offsets.to_numpy(), ends.values.to_numpy())


def _joined(pieces: Sequence[Stretch]) -> Stretch:
    """Pieces of successive passes as one stretch: all but the first begin with a document, all but the last end so."""
    pieces = [piece for piece in pieces if len(piece.tokens)]
    before = np.cumsum([0, *(len(piece.tokens) for piece in pieces)])
    shifted = list(zip(pieces, before.tolist(), strict=False))
    return Stretch(
        tokens=np.concatenate([np.zeros(0, np.uint16), *(piece.tokens for piece in pieces)]),
        offsets=np.concatenate([np.zeros(1, np.int64), *(piece.offsets[1:] + start for piece, start in shifted)]),
        sentence_ends=np.concatenate([np.zeros(0, np.int64), *(p.sentence_ends + start for p, start in shifted)]),
        ids=[identity for piece in pieces for identity in piece.ids],
        continued=bool(pieces and pieces[0].continued),
        complete=not pieces or pieces[-1].complete,
    )


def _taken(stream: Stream, limit: Limit | None) -> npt.NDArray[np.int64]:
    """Tokens that a pass takes of each document."""
    if limit is None:
        return stream.lengths
    order = limit.order()
    return np.array(
        [
            length if (here := (int(key), identity)) < order else limit.tokens if here == order else 0
            for key, identity, length in zip(stream.keys, stream.ids, stream.lengths.tolist(), strict=True)
        ],
        np.int64,
    )
