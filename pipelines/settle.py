"""Who stays: the survivors of each component.

settle  a range of components -> each document that goes, for whom, and as what; by groups of partitions
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.corpus.documents import DOCUMENT_ID_BYTES, Outcome
from glmdata.dedupe.candidates import INDEX_NUMBER
from glmdata.dedupe.components import connected_components
from glmdata.dedupe.survivors import Settlement, choose_survivors, survivor_rank
from glmdata.pipelines.candidates import Groups
from glmdata.pipelines.components import edges_of
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job, Result
from glmdata.pipelines.partitions import number_parts, read_columns, runs_of, write_batches
from glmdata.pipelines.similarity import Comparison, Texts

__all__ = ["DUPLICATE_SCHEMA", "settle_components"]

THIS_BUILD = -1
DUPLICATE_SCHEMA = pa.schema(
    [
        pa.field("document", pa.uint64(), nullable=False),
        pa.field("survivor_id", pa.binary(DOCUMENT_ID_BYTES), nullable=False),
        pa.field("outcome", pa.uint8(), nullable=False),
        pa.field("same_bytes", pa.bool_(), nullable=False),  # as the survivor; always false for one of another build
        pa.field("source", pa.int32(), nullable=False),  # file of the earlier build that holds the survivor
    ]
)

_Numbers = npt.NDArray[np.uint64]
_Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleArguments:
    """Range `part` of the components."""

    edges: tuple[FileRef, ...]
    part: int
    parts: int
    signs: tuple[FileRef, ...]
    texts: Texts
    groups: Groups


def settle_components(
    engine: Engine,
    edges: tuple[FileRef, ...],
    parts: int,
    signs: Sequence[FileRef],
    texts: Texts,
    groups: Groups,
) -> list[Result]:
    """Run the stage; of each range duplicates.arrow, with a record batch a group, and removed bytes by language."""
    return engine.run(
        "settle",
        [
            Job(
                function=settle,
                arguments=SettleArguments(
                    edges=edges, part=part, parts=parts, signs=tuple(signs), texts=texts, groups=groups
                ),
            )
            for part in range(parts)
        ],
    )


def settle(arguments: SettleArguments, attempt: Attempt) -> dict[str, Any]:
    """Decide on the documents of some components. Writes duplicates.arrow, in the order of documents."""
    document, better = edges_of(attempt, arguments.edges, arguments.part, arguments.parts)
    numbers, roots = connected_components(document, better)
    facts = _read_facts(attempt, arguments, numbers)
    rank = survivor_rank(facts.priority, facts.length, np.hstack((facts.content, facts.raw)), facts.identity)
    content = _same(facts.content)
    if arguments.texts.dedupe.verify:
        survivor = _settled(arguments.texts, attempt, numbers, rank, content, (document, better))
    else:
        survivor = choose_survivors(roots, rank)
        first = numbers < INDEX_NUMBER  # an index keeps all it has, alike or not
        survivor = np.where(first, survivor, np.arange(len(numbers)))
    gone = np.flatnonzero(survivor != np.arange(len(numbers)))
    same_content = content[gone] == content[survivor[gone]]
    outcome = np.where(same_content, Outcome.EXACT_DUPLICATE, Outcome.NEAR_DUPLICATE)
    source = np.where(numbers >= INDEX_NUMBER, number_parts(numbers ^ INDEX_NUMBER)[0], THIS_BUILD)[survivor[gone]]
    same = (facts.raw[gone] == facts.raw[survivor[gone]]).all(axis=1) & (source == THIS_BUILD)
    table = pa.RecordBatch.from_arrays(
        [
            pa.array(numbers[gone]),
            facts.ids.take(pa.array(survivor[gone])),
            pa.array(outcome.astype(np.uint8)),
            pa.array(same),
            pa.array(source.astype(np.int32)),
        ],
        schema=DUPLICATE_SCHEMA,
    )
    bounds = np.searchsorted(arguments.groups.of(number_parts(numbers[gone])[0]), np.arange(len(arguments.groups) + 1))
    write_batches(
        attempt.output("duplicates.arrow"),
        DUPLICATE_SCHEMA,
        (
            table.slice(start, stop - start)
            for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        ),
    )
    removed: Counter[str] = Counter()
    for code, length in zip(facts.languages.take(pa.array(gone)).to_pylist(), facts.length[gone].tolist(), strict=True):
        removed[code] += length
    held = int((source != THIS_BUILD).sum())
    return {"records": len(gone), "held": held, "removed_bytes": dict(sorted(removed.items()))}


def _settled(
    texts: Texts,
    attempt: Attempt,
    numbers: _Numbers,
    rank: _Places,
    content: _Places,
    edges: tuple[_Numbers, _Numbers],
) -> _Places:
    """Survivors by verified edges: for each document the place of the one that stays for it."""
    order = np.argsort(rank)  # places by rank
    # Documents of one content are one node, its best; their edges are its edges.
    node = np.full(len(numbers), -1, np.int64)
    _, first, back = np.unique(content[order], return_index=True, return_inverse=True)
    node[order] = order[first][back]
    chosen = np.flatnonzero(node == np.arange(len(numbers)))
    chosen = chosen[np.argsort(rank[chosen])]
    place = np.full(len(numbers), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    ends = [place[node[np.searchsorted(numbers, side)]] for side in edges]
    worse, best = np.maximum(*ends), np.minimum(*ends)
    apart = (worse != best) & (numbers[chosen[worse]] < INDEX_NUMBER)
    settlement = Settlement(len(chosen), worse[apart], best[apart])
    comparison = Comparison(texts, attempt)
    while True:
        document, other = settlement.questions()
        if not len(document):
            break
        settlement.answer(document, comparison.alike(numbers[chosen[document]], numbers[chosen[other]]), other)
    return chosen[settlement.survivors][place[node]]


def _same(content: _Numbers) -> _Places:
    """A small number for each distinct 128-bit number: int64[n]."""
    order = np.lexsort((content[:, 1], content[:, 0]))
    new = np.ones(len(order), bool)
    new[1:] = (content[order[1:]] != content[order[:-1]]).any(axis=1)
    found = np.empty(len(order), np.int64)
    found[order] = np.cumsum(new) - 1
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What decides between documents: arrays with a row each."""

    priority: _Places
    length: _Places
    raw: _Numbers
    content: _Numbers
    identity: _Numbers
    ids: pa.FixedSizeBinaryArray
    languages: pa.StringArray


def _read_facts(attempt: Attempt, arguments: SettleArguments, numbers: _Numbers) -> _Facts:
    """Facts of documents (sorted by number): from signs.arrow of their partition, or the index they are of."""
    parts = []
    ours = int(np.searchsorted(numbers, INDEX_NUMBER))
    owners, rows = number_parts(numbers[:ours])
    for owner, start, stop in runs_of(owners):
        columns = read_columns(attempt, arguments.signs[owner]).take(pa.array(rows[start:stop]))
        parts.append(_facts_of(columns, columns["priority"].to_numpy().astype(np.int64), columns["length"], "hash"))
    owners, rows = number_parts(numbers[ours:] ^ INDEX_NUMBER)
    for owner, start, stop in runs_of(owners):
        with pa.memory_map(attempt.input(arguments.texts.earlier.files[owner])) as source:
            table = pa.ipc.open_file(source).read_all().select(["document_id", "content_high", "content_low"])
            columns = table.take(pa.array(rows[start:stop])).combine_chunks().to_batches()[0]
        languages = pa.nulls(len(columns), pa.string()).fill_null("")
        columns = columns.append_column("language", languages)
        first = np.full(len(columns), -1)
        parts.append(_facts_of(columns, first, pa.array(np.zeros(len(columns), np.int64)), "content"))
    if not parts:
        empty = np.zeros(0, np.int64)
        pair = np.zeros((0, 2), np.uint64)
        ids = pa.array([], pa.binary(DOCUMENT_ID_BYTES))
        return _Facts(
            priority=empty,
            length=empty,
            raw=pair,
            content=pair,
            identity=pair,
            ids=ids,
            languages=pa.array([], pa.string()),
        )
    joined = pa.concat_arrays([part.ids for part in parts])
    return _Facts(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("priority", "length", "raw", "content", "identity")
        },
        ids=joined,
        languages=pa.concat_arrays([part.languages for part in parts]),
    )


def _facts_of(columns: pa.RecordBatch, priority: _Places, length: pa.Array, raw: str) -> _Facts:
    def halves(name: str) -> _Numbers:
        return np.stack([columns[f"{name}_{half}"].to_numpy() for half in ("high", "low")], axis=1)

    ids = columns["document_id"]
    digits = np.frombuffer(ids.buffers()[1] or b"", ">u8")[2 * ids.offset : 2 * (ids.offset + len(ids))]
    return _Facts(
        priority=priority,
        length=length.to_numpy(),
        raw=halves(raw),
        content=halves("content"),
        identity=digits.astype(np.uint64).reshape(-1, 2),
        ids=ids,
        languages=columns["language"],
    )
