"""The rules that every row of a build keeps, checked on whole record batches.

A row is Part A (corrupted text, columns before context_length), Part B (spans, up to length), padding. See
glmdata.infilling.layout for what makes such rows. N rows, L columns.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.shards.manifest import Manifest
from glmdata.shards.schema import OBJECTIVES, column_views

__all__ = ["broken_rules"]

Matrix = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_FREE_LOSS = OBJECTIVES.index("sft")
"""From this objective on, loss may leave out tokens of Part B."""


class _Rows(NamedTuple):
    """A record batch taken apart."""

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


def broken_rules(batch: pa.RecordBatch, manifest: Manifest) -> Iterator[tuple[str, Mask]]:
    """Each rule that some row of the batch breaks, and which rows [N] break it.

    The batch has the build's schema and passed `validate(full=True)`; its values may be anything.
    """
    rows = _take_apart(batch, manifest.tokenizer.special_tokens)
    views = column_views(batch)
    for rule, bad in (
        *_values(rows, manifest, views["language"]),
        *_part_a(rows),
        *_part_b(rows, manifest.tokenizer.special_tokens),
        *_spans(rows, manifest.tokenizer.special_tokens),
        *_lists(rows, batch),
    ):
        broken: Mask = bad.any(axis=1, keepdims=True).ravel() if bad.ndim == 2 else bad
        if broken.any():
            yield rule, broken


def _take_apart(batch: pa.RecordBatch, special: dict[str, int]) -> _Rows:
    wide = {name: view.astype(np.int64) for name, view in column_views(batch).items()}
    ids, context, length = wide["input_ids"], wide["context_length"], wide["length"]
    column = np.arange(ids.shape[1])
    in_a = column < context[:, None]
    real = column < length[:, None]
    in_b = real & ~in_a
    sop = in_b & (ids == special["sop"])
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
        masks=in_a & np.isin(ids, _mask_ids(special)),
        num_spans=sop.sum(axis=1),
    )


def _mask_ids(special: dict[str, int]) -> list[int]:
    return sorted({special[role] for role in ("mask", "smask", "gmask")})


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


def _values(rows: _Rows, manifest: Manifest, language: npt.NDArray[Any]) -> Iterator[tuple[str, Mask]]:
    size, width = manifest.tokenizer.vocabulary_size, rows.ids.shape[1]
    pad = manifest.tokenizer.special_tokens["pad"]
    wrong = (rows.context < 1) | (rows.context >= rows.length) | (rows.length > width)
    yield "0 < context_length < length <= sequence_length", wrong
    yield "ids lie below vocabulary_size", (rows.ids >= size) | (rows.targets >= size)
    yield "objective is a known code", rows.objective >= len(OBJECTIVES)
    yield "language indexes the manifest's languages", language >= len(manifest.languages)
    filled = (rows.ids != pad) | (rows.positions != 0) | (rows.blocks != 0) | (rows.loss != 0)
    yield "padding is the pad id, zeros elsewhere", rows.padding & filled
    yield "padding's targets are zero or the pad id", rows.padding & (rows.targets != 0) & (rows.targets != pad)


def _part_a(rows: _Rows) -> Iterator[tuple[str, Mask]]:
    yield "Part A: positions are 0, 1, 2, ...", rows.in_a & (rows.positions != np.arange(rows.ids.shape[1]))
    yield "Part A: block positions are 0", rows.in_a & (rows.blocks != 0)
    yield "Part A: no loss", rows.in_a & (rows.loss != 0)
    yield "Part A: targets are its tokens", rows.in_a & (rows.targets != rows.ids)


def _part_b(rows: _Rows, special: dict[str, int]) -> Iterator[tuple[str, Mask]]:
    inside = rows.in_b & ~rows.sop
    strict = (rows.objective < _FREE_LOSS)[:, None]
    yield "Part B: loss is 1 on every token", rows.in_b & (rows.loss != 1) & strict
    yield "loss is 0 or 1", rows.loss > 1
    first = rows.in_b & (np.arange(rows.ids.shape[1]) == rows.context[:, None])
    yield "Part B: begins with sop", first & ~rows.sop
    yield "sop stands in Part B only", ~rows.in_b & ~rows.padding & (rows.ids == special["sop"])
    yield "eop is never an input", ~rows.padding & (rows.ids == special["eop"])
    yield "mask tokens stand in Part A only", rows.in_b & np.isin(rows.ids, _mask_ids(special))
    document = (rows.in_a & (rows.ids == special["gmask"])).any(axis=1)
    yield "no cls in a span but a document-level one", rows.in_b & (rows.ids == special["cls"]) & ~document[:, None]
    if special["pad"] not in (special["eos"], special["cls"]):
        yield "no pad inside a sample", ~rows.padding & (rows.ids == special["pad"])
    counted = np.where(rows.sop, 1, _before(rows.blocks) + 1)
    yield "Part B: block positions are 1, 2, ... in each span", rows.in_b & (rows.blocks != counted)
    yield "Part B: a span keeps one position", inside & (rows.positions != _before(rows.positions))
    shifted = np.where(rows.last, special["eop"], _next(rows.ids, special["eop"]))
    yield "Part B: targets are the next token, eop after the last", rows.in_b & (rows.targets != shifted)


def _spans(rows: _Rows, special: dict[str, int]) -> Iterator[tuple[str, Mask]]:
    width = rows.ids.shape[1]
    yield "at least one span", rows.num_spans == 0
    yield "no empty span", rows.sop & rows.last
    yield "as many mask tokens as spans", rows.masks.sum(axis=1) != rows.num_spans
    kinds = sum((rows.masks & (rows.ids == mask)).any(axis=1).astype(np.int64) for mask in _mask_ids(special))
    yield "one kind of mask token in a row", np.asarray(kinds) > 1
    row, column = np.nonzero(rows.sop)
    place = np.minimum(rows.positions[row, column], width - 1)
    astray = np.zeros(len(rows.ids), np.bool_)
    astray[row[~rows.masks[row, place]]] = True
    yield "a span's position is that of a mask token", astray
    uses = np.bincount(row * width + place, minlength=rows.ids.size).reshape(rows.ids.shape)
    yield "no two spans at one mask token", uses > 1


def _lists(rows: _Rows, batch: pa.RecordBatch) -> Iterator[tuple[str, Mask]]:
    column = batch.column("sentence_ends")
    offsets = column.offsets.to_numpy().astype(np.int64)
    ends = column.flatten().to_numpy().astype(np.int64)
    owner = np.repeat(np.arange(len(rows.ids)), np.diff(offsets))
    wrong = np.zeros(len(rows.ids), np.bool_)
    text = rows.length - 2 * rows.num_spans
    wrong[owner[(ends < 1) | (ends > text[owner])]] = True
    wrong[owner[1:][(np.diff(ends) <= 0) & (np.diff(owner) == 0)]] = True
    yield "sentence_ends rise and lie in the text", wrong
    yield "document_ids name a document", np.diff(batch.column("document_ids").offsets.to_numpy()) < 1
