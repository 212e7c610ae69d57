"""The rules that every row of a build keeps, checked on whole record batches.

A row is Part A (corrupted text, columns before context_length), Part B (spans, up to length), padding. See
glmdata.infilling.layout for what makes such rows, glmdata.infilling.style for what the recipe may change in them.
N rows, L columns.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.infilling.segments import Segments, find_segments
from glmdata.infilling.style import Style
from glmdata.shards.manifest import Manifest
from glmdata.shards.schema import MATRIX_COLUMNS, OBJECTIVES, SCALAR_COLUMNS, SEGMENT_COLUMNS, column_views

__all__ = ["broken_rules"]

Matrix = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_PREFERENCE = OBJECTIVES.index("preference")
_FREE_LOSS = OBJECTIVES.index("sft")
"""From this objective on, loss may leave out tokens of Part B."""


SEGMENTS_AT_ONCE = 256
"""Samples whose rules are looked at together: 40 MB at 2,048."""


class _Rows(NamedTuple):
    """Samples taken apart."""

    ids: Matrix
    targets: Matrix
    positions: Matrix
    blocks: Matrix
    loss: Matrix
    context: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    objective: npt.NDArray[np.int64]
    in_a: Mask
    in_b: Mask
    padding: Mask
    sop: Mask
    """A sop in Part B: the first column of a span."""
    last: Mask
    """The last column of a span."""
    masks: Mask
    """Mask tokens of any kind in Part A."""
    num_spans: npt.NDArray[np.int64]
    open: Mask
    """Rows whose last span has no eop."""


def broken_rules(batch: pa.RecordBatch, manifest: Manifest) -> Iterator[tuple[str, Mask]]:
    """Each rule that some row of the batch breaks, and which rows [N] break it.

    The batch has the build's schema and passed `validate(full=True)`; its values may be anything.
    """
    views, style = column_views(batch), manifest.style
    segments = find_segments(views["input_ids"], views["block_position_ids"], views["length"], style)
    text = np.zeros(batch.num_rows, np.int64)
    broken: dict[str, Mask] = {}

    def note(found: Iterable[tuple[str, Mask]], owner: npt.NDArray[np.int64]) -> None:
        for rule, bad in found:
            wrong = bad.any(axis=1) if bad.ndim == 2 else bad
            if wrong.any():
                broken.setdefault(rule, np.zeros(batch.num_rows, np.bool_))[owner[wrong]] = True

    every = np.arange(batch.num_rows)
    for first in range(0, len(segments.row), SEGMENTS_AT_ONCE):
        some = Segments(*(values[first : first + SEGMENTS_AT_ONCE] for values in segments))
        wide = _samples(views, some, style, manifest.tokenizer.special_tokens["pad"])
        rows = _take_apart(wide, style, document_eop=manifest.span_settings.document_eop)
        np.add.at(text, some.row, rows.length - 2 * rows.num_spans + rows.open)
        note(_sample_rules(rows, manifest), some.row)
    note([("language indexes the manifest's languages", views["language"] >= len(manifest.languages))], every)
    note(_lists(text, batch), every)
    if manifest.has_choices:
        note(_choices(views, batch, manifest.tokenizer.vocabulary_size), every)
    if style.apart:
        note(_segments(segments, views, batch, style), every)
    yield from broken.items()


def _samples(views: Mapping[str, npt.NDArray[Any]], some: Segments, style: Style, pad: int) -> dict[str, Matrix]:
    """The columns of the segments as if each were a row of its own; the last of a row has the row's padding."""
    wide = {name: views[name][some.row].astype(np.int64) for name in (*MATRIX_COLUMNS, *SCALAR_COLUMNS)}
    if not style.apart:
        return wide
    width = wide["input_ids"].shape[1]
    places = some.start[:, None] + np.arange(width)
    inner = some.start + some.length < wide["length"]
    outside = (places >= width) | (inner[:, None] & (np.arange(width) >= some.length[:, None]))
    for name in MATRIX_COLUMNS:
        moved = np.take_along_axis(wide[name], np.minimum(places, width - 1), axis=1)
        wide[name] = np.where(outside, pad if name == "input_ids" else 0, moved)
    sops = np.isin(wide["input_ids"], style.all_sop_ids())
    wide["context_length"] = np.where(sops.any(axis=1), sops.argmax(axis=1), width)
    wide["length"] = np.where(inner, some.length, wide["length"] - some.start)
    return wide


def _sample_rules(rows: _Rows, manifest: Manifest) -> Iterator[tuple[str, Mask]]:
    yield from _values(rows, manifest)
    yield from _part_a(rows, manifest.style)
    yield from _part_b(rows, manifest.tokenizer.special_tokens, manifest.style)
    yield from _targets(rows, manifest.style)
    yield from _spans(rows, manifest.style)


def _segments(
    found: Segments, views: Mapping[str, npt.NDArray[Any]], batch: pa.RecordBatch, style: Style
) -> Iterator[tuple[str, Mask]]:
    yield "a segment begins with cls", views["input_ids"][:, 0] != style.cls
    for name, values in zip(SEGMENT_COLUMNS, (found.start, found.context_length), strict=True):
        column, wrong = batch.column(name), np.zeros(batch.num_rows, np.bool_)
        sizes, listed = np.diff(column.offsets.to_numpy()), column.flatten().to_numpy()
        wrong |= sizes != np.bincount(found.row, minlength=batch.num_rows)
        if not wrong.any():
            wrong[found.row[listed != values]] = True
        yield f"{name} are those of the row", wrong
    first = np.searchsorted(found.row, np.arange(batch.num_rows))
    yield "context_length is that of the first segment", views["context_length"] != found.context_length[first]


def _take_apart(wide: dict[str, Matrix], style: Style, *, document_eop: bool) -> _Rows:
    ids, context, length = wide["input_ids"], wide["context_length"], wide["length"]
    column = np.arange(ids.shape[1])
    in_a = column < context[:, None]
    real = column < length[:, None]
    in_b = real & ~in_a
    sop = in_b & np.isin(ids, style.all_sop_ids())
    closed = (in_b & (column == length[:, None] - 1) & (wide["target_ids"] == style.eop)).any(axis=1)
    span_goes_on = _next(in_b, False) & ~_next(sop, False)
    return _Rows(
        ids=ids,
        targets=wide["target_ids"],
        positions=wide["position_ids"],
        blocks=wide["block_position_ids"],
        loss=wide["loss_mask"],
        context=context,
        length=length,
        objective=wide["objective"],
        in_a=in_a,
        in_b=in_b,
        padding=~real,
        sop=sop,
        last=in_b & ~span_goes_on,
        masks=in_a & np.isin(ids, style.all_mask_ids()),
        num_spans=sop.sum(axis=1),
        open=(not document_eop) & (wide["objective"] == OBJECTIVES.index("document")) & ~closed,
    )


def _next(values: npt.NDArray[Any], after: Any) -> npt.NDArray[Any]:
    """What stands one column later."""
    moved = np.full_like(values, after)
    moved[:, :-1] = values[:, 1:]
    return moved


def _before(values: Matrix) -> Matrix:
    """What stands one column earlier."""
    moved = np.zeros_like(values)
    moved[:, 1:] = values[:, :-1]
    return moved


def _values(rows: _Rows, manifest: Manifest) -> Iterator[tuple[str, Mask]]:
    size, width = manifest.tokenizer.vocabulary_size, rows.ids.shape[1]
    pad = manifest.tokenizer.special_tokens["pad"]
    wrong = (rows.context < 1) | (rows.context >= rows.length) | (rows.length > width)
    yield "0 < context_length < length <= sequence_length", wrong
    yield "ids lie below vocabulary_size", (rows.ids >= size) | (rows.targets >= size)
    yield "objective is a known code", rows.objective >= len(OBJECTIVES)
    filled = (rows.ids != pad) | (rows.positions != 0) | (rows.blocks != 0) | (rows.loss != 0)
    yield "padding is the pad id, zeros elsewhere", rows.padding & filled
    yield "padding's targets are zero or the pad id", rows.padding & (rows.targets != 0) & (rows.targets != pad)


def _part_a(rows: _Rows, style: Style) -> Iterator[tuple[str, Mask]]:
    first = rows.positions[:, :1] if style.random_positions else 0
    yield "Part A: positions are 0, 1, 2, ...", rows.in_a & (rows.positions != first + np.arange(rows.ids.shape[1]))
    yield "Part A: positions lie below sequence_length", rows.in_a & (rows.positions >= rows.ids.shape[1])
    yield "Part A: block positions are 0", rows.in_a & (rows.blocks != 0)
    yield "Part A: no loss", rows.in_a & (rows.loss != 0)
    yield "Part A: targets are its tokens", rows.in_a & (rows.targets != rows.ids)


def _part_b(rows: _Rows, special: dict[str, int], style: Style) -> Iterator[tuple[str, Mask]]:
    inside = rows.in_b & ~rows.sop
    strict = (rows.objective < _FREE_LOSS)[:, None]
    yield "Part B: loss is 1 on every token", rows.in_b & (rows.loss != 1) & strict
    yield "loss is 0 or 1", rows.loss > 1
    first = rows.in_b & (np.arange(rows.ids.shape[1]) == rows.context[:, None])
    yield "Part B: begins with sop", first & ~rows.sop
    yield "sop stands in Part B only", ~rows.in_b & ~rows.padding & np.isin(rows.ids, style.all_sop_ids())
    yield "eop is never an input", ~rows.padding & (rows.ids == special["eop"])
    yield "mask tokens stand in Part A only", rows.in_b & np.isin(rows.ids, style.all_mask_ids())
    document = (rows.in_a & (rows.ids == special["gmask"])).any(axis=1)
    yield "no cls in a span but a document-level one", rows.in_b & (rows.ids == special["cls"]) & ~document[:, None]
    if special["pad"] not in (special["eos"], special["cls"]):
        yield "no pad inside a sample", ~rows.padding & (rows.ids == special["pad"])
    counted = np.where(rows.sop, 1, _before(rows.blocks) + 1) if style.block_positions else np.int64(1)
    yield "Part B: block positions are 1, 2, ... in each span", rows.in_b & (rows.blocks != counted)
    yield "Part B: a span keeps one position", inside & (rows.positions != _before(rows.positions))


def _targets(rows: _Rows, style: Style) -> Iterator[tuple[str, Mask]]:
    shifted = np.where(rows.last, style.eop, _next(rows.ids, style.eop))
    free = rows.last & rows.open[:, None]
    if style.block_mask_ratio > 0:
        free |= _next(rows.ids == style.dblock, False)
    yield "Part B: targets are the next token, eop after the last", rows.in_b & ~free & (rows.targets != shifted)


def _spans(rows: _Rows, style: Style) -> Iterator[tuple[str, Mask]]:
    width = rows.ids.shape[1]
    yield "at least one span", rows.num_spans == 0
    yield "no empty span", rows.sop & rows.last & ~rows.open[:, None]
    yield "as many mask tokens as spans", rows.masks.sum(axis=1) != rows.num_spans
    kinds = sum((rows.masks & (rows.ids == mask)).any(axis=1).astype(np.int64) for mask in set(style.mask_ids.tolist()))
    yield "one kind of mask token in a row", np.asarray(kinds) > 1
    if style.sentinels:
        yield from _sentinels(rows, style)
        return
    row, column = np.nonzero(rows.sop)
    first = rows.positions[row, 0] if style.random_positions else 0
    place = np.clip(rows.positions[row, column] - first, 0, width - 1)
    astray = np.zeros(len(rows.ids), np.bool_)
    astray[row[~rows.masks[row, place]]] = True
    yield "a span's position is that of a mask token", astray
    uses = np.bincount(row * width + place, minlength=rows.ids.size).reshape(rows.ids.shape)
    yield "no two spans at one mask token", uses > 1


def _sentinels(rows: _Rows, style: Style) -> Iterator[tuple[str, Mask]]:
    """Rank r of Part B has mask and sop r; one of each in a row, the plain ones first."""
    yield "Part B: positions are those of sentinels", rows.in_b & (rows.positions != style.sentinel_position)
    rank = np.cumsum(rows.sop, axis=1) - 1
    wanted = np.where(rank == 0, style.sop, style.first_sentinel + 2 * rank - 1)
    yield "spans have the sop tokens of their place", rows.sop & (rows.ids != wanted)
    own = ~np.isin(rows.ids, style.mask_ids)
    ranks = np.where(rows.masks, np.where(own, (rows.ids - style.first_sentinel) // 2 + 1, 0), -1)
    ordered = np.sort(ranks, axis=1)[:, ::-1]
    spans = rows.num_spans[:, None]
    column = np.arange(ranks.shape[1])
    wanted = np.where(column < spans, spans - 1 - column, -1)
    yield "mask tokens are those of the spans", ordered != wanted


def _lists(text: npt.NDArray[np.int64], batch: pa.RecordBatch) -> Iterator[tuple[str, Mask]]:
    """`text` [N] tokens before masking."""
    column = batch.column("sentence_ends")
    offsets = column.offsets.to_numpy().astype(np.int64)
    ends = column.flatten().to_numpy().astype(np.int64)
    owner = np.repeat(np.arange(batch.num_rows), np.diff(offsets))
    wrong = np.zeros(batch.num_rows, np.bool_)
    wrong[owner[(ends < 1) | (ends > text[owner])]] = True
    wrong[owner[1:][(np.diff(ends) <= 0) & (np.diff(owner) == 0)]] = True
    yield "sentence_ends rise and lie in the text", wrong
    yield "document_ids name a document", np.diff(batch.column("document_ids").offsets.to_numpy()) < 1


def _choices(
    views: Mapping[str, npt.NDArray[Any]], batch: pa.RecordBatch, vocabulary_size: int
) -> Iterator[tuple[str, Mask]]:
    """Of builds whose rows have answers to choose from."""
    tokens, ends = batch.column("choices"), batch.column("choice_ends")
    starts, first = tokens.offsets.to_numpy().astype(np.int64), ends.offsets.to_numpy().astype(np.int64)
    ids, stops = tokens.flatten().to_numpy(), ends.flatten().to_numpy().astype(np.int64)
    label = batch.column("label").to_numpy().astype(np.int64)
    uneven, strange, foreign, wide, alike = (np.zeros(len(label), np.bool_) for _ in range(5))
    for row in range(len(label)):
        edges = np.append(0, stops[first[row] : first[row + 1]])
        mine = ids[starts[row] : starts[row + 1]]
        strange[row] = (mine >= vocabulary_size).any()
        uneven[row] = len(edges) < 2 or (np.diff(edges) < 1).any() or edges[-1] != len(mine)
        foreign[row] = label[row] >= len(edges) - 1
        if uneven[row] or foreign[row]:
            continue
        answer, end = mine[edges[label[row]] : edges[label[row] + 1]], int(views["length"][row]) - 1
        foreign[row] = end < len(answer) or (views["target_ids"][row, max(0, end - len(answer)) : end] != answer).any()
        wide[row] = end + 1 - len(answer) + np.diff(edges).max() > views["target_ids"].shape[1]
        if views["objective"][row] == _PREFERENCE:
            alike[row] = len(edges) != 3 or label[row] != 0 or np.array_equal(answer, mine[edges[1] :])
    yield "choices: none is empty, and their ends rise to that of the list", uneven
    yield "choices: ids lie below vocabulary_size", strange
    yield "label is that of the answer in Part B", foreign
    yield "choices: each fits in the row", wide
    yield "preference: two answers that differ, the chosen one the row's own", alike
