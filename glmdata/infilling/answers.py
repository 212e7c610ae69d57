"""Rows of fine-tuning: a context with one mask token, and the answer that belongs there.

Part A is the context, Part B sop and the answer, whose last target is eop: the layout of a text whose one span is the
answer, so `finish_row` makes these rows as it makes all others. Dialogues, summaries and cloze questions differ in what
the context is and in which mask token it has (reference section 2, "Finetuning layouts", and section 4).

`cloze_input`, `causal_input` and `decoder_input` are the original's builders (build_input_from_ids,
build_uni_input_from_ids, build_decoder_input), equal on its golden vectors. The original's targets are 0 in Part A, as
theirs; rows of shards have the tokens there, like rows of any objective. Loss is 0 there in both.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from glmdata.infilling.layout import Page, Sample, finish_row, row_of
from glmdata.infilling.spans import span_keys
from glmdata.infilling.style import Style
from glmdata.kernels import njit

__all__ = ["Answers", "causal_input", "cloze_input", "decoder_input", "lay_out_answers", "pack_rows"]

OPEN_ROWS = 32
"""Rows looked at for room. Dialogues of 130 tokens leave of rows of 512 18 % empty with 1, 5.6 with 8, 5.2 with 32."""
Ids: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]


class Answers(NamedTuple):
    """R contexts and their answers, joined; row i has context[context_offsets[i]:context_offsets[i + 1]]."""

    context: NDArray[np.uint32]
    """Part A, special tokens included."""
    context_offsets: NDArray[np.int64]
    mask_place: NDArray[np.int64]
    """[R] where the mask token stands in its context."""
    mask: NDArray[np.int64]
    """[R] which it is: 0, 1 or 2 for [MASK], [sMASK] or [gMASK]."""
    answer: NDArray[np.uint32]
    """Without sop and eop."""
    answer_offsets: NDArray[np.int64]
    silent: NDArray[np.int64]
    """[R] first tokens of the answer that are given and not learned: a prompt that stands in Part B."""


def lay_out_answers(
    answers: Answers, style: Style, sequence_length: int, *, closed: bool = True
) -> tuple[Page, NDArray[np.uint16], NDArray[np.uint16]]:
    """Finished rows [R, L], their context lengths and lengths [R].

    Args:
        answers: contexts and answers that fit: context + 1 + answer tokens are at most L (one less if not closed).
        style: ids and block positions; the styles that draw at random are of pre-training alone.
        sequence_length: L.
        closed: whether eop is the last target; otherwise the answer's last token is, and is no input.

    Raises ValueError where a row does not fit, its mask is not in its context, or an answer is empty but not closed.
    """
    contexts, sizes = np.diff(answers.context_offsets), np.diff(answers.answer_offsets)
    if (contexts + sizes + (1 if closed else 0) > sequence_length).any():
        raise ValueError(f"a context and its answer have more than {sequence_length} tokens")
    if ((answers.mask_place < 0) | (answers.mask_place >= contexts)).any() or (not closed and (sizes < 1).any()):
        raise ValueError("a context without its mask, or an answer without an end")
    rows = len(contexts)
    pages = Page.empty(rows, sequence_length)
    lengths = np.empty((2, rows), np.uint16)
    _lay_out(answers, closed, span_keys(0), style, pages, lengths)
    return pages, lengths[0], lengths[1]


@njit(nogil=True, cache=True)
def _lay_out(answers, closed, keys, style, pages, lengths):  # type: ignore[no-untyped-def]
    tokens = np.empty(pages.input_ids.shape[1], np.uint32)
    span = np.empty((1, 2), np.int64)
    order = np.zeros(1, np.int64)
    for row in range(len(answers.mask_place)):
        context = answers.context[answers.context_offsets[row] : answers.context_offsets[row + 1]]
        answer = answers.answer[answers.answer_offsets[row] : answers.answer_offsets[row + 1]]
        place, size = answers.mask_place[row], len(answer)
        tokens[:place] = context[:place]
        tokens[place : place + size] = answer
        tokens[place + size : len(context) - 1 + size] = context[place + 1 :]
        span[0, 0], span[0, 1] = place, place + size
        text, page = tokens[: len(context) - 1 + size], row_of(pages, row)
        context_length, length = finish_row(
            text, span, order, answers.mask[row], closed, np.uint64(0), keys, style, page
        )
        for i in range(context_length, context_length + answers.silent[row]):
            page.loss_mask[i] = 0
        lengths[0, row], lengths[1, row] = context_length, length


def pack_rows(
    pages: Page, lengths: NDArray[np.integer[Any]], groups: NDArray[np.integer[Any]], pad: int
) -> tuple[Page, NDArray[np.int64], NDArray[np.int64]]:
    """Several finished rows one behind the other in one, as segments: (pages [P, L], row [R], start [R]).

    Each goes to the first of the last OPEN_ROWS rows of its group that has room. `lengths` and `groups` are [R].
    """
    count, width = pages.input_ids.shape
    row, start, filled = np.zeros(count, np.int64), np.zeros(count, np.int64), list[int]()
    open_rows: dict[int, list[int]] = {}
    for place, (length, group) in enumerate(zip(lengths.tolist(), groups.tolist(), strict=True)):
        mine = open_rows.setdefault(group, [])
        found = next((number for number in mine if filled[number] + length <= width), len(filled))
        if found == len(filled):
            filled.append(0)
            mine.append(found)
            del mine[:-OPEN_ROWS]
        row[place], start[place] = found, filled[found]
        filled[found] += length
    packed = Page(*(np.zeros((len(filled), width), column.dtype) for column in pages))
    packed.input_ids[...] = pad
    for place, (number, at, length) in enumerate(zip(row.tolist(), start.tolist(), lengths.tolist(), strict=True)):
        for name in Page._fields:
            getattr(packed, name)[number, at : at + length] = getattr(pages, name)[place, :length]
    return packed, row, start


def cloze_input(
    text_a: Ids,
    text_b: Ids | None,
    answer: Ids | None,
    length: int,
    special: Mapping[str, int],
    *,
    add_cls: bool = True,
    add_sep: bool = False,
    add_eos: bool = True,
) -> Sample:
    """`[cls] A [sep?] B [eos?] | sop answer`, filled up with eos to `length`: the original's build_input_from_ids.

    Args:
        text_a, text_b: token ids; one of them holds the mask token, `special["mask"]`, of several the last counts.
        answer: token ids, the last of which is a target only (eop); None leaves the place after sop open, with target
            0 and loss, where a single-token verbalizer is read.
        length: tokens of the row.
        special: ids by role: cls, eos, mask, sop, eop, and sep where `add_sep`.

    Example: A = 1 M 2, answer 3 eop -> input_ids cls 1 M 2 eos sop 3, target_ids 0 0 0 0 0 3 eop, position_ids
    0 1 2 3 4 2 2, block_position_ids 0 0 0 0 0 1 2, context_length 5.
    """
    head = [special["cls"]] if add_cls else []
    between = [special["sep"]] if add_sep and text_b is not None else []
    tail = [special["eos"]] if add_eos else []
    context = np.array([*head, *text_a, *between, *(() if text_b is None else text_b), *tail], np.uint32)
    place = int(np.flatnonzero(context == special["mask"])[-1])
    return _as_original(context, place, answer, length, special, 0)


def causal_input(prompt: Ids, answer: Ids, length: int, special: Mapping[str, int]) -> Sample:
    """`[cls] [MASK] | sop prompt answer` with loss on the answer alone: the original's build_uni_input_from_ids.

    Arguments as for `cloze_input`.
    """
    context = np.array([special["cls"], special["mask"]], np.uint32)
    return _as_original(context, 1, [*prompt, *answer], length, special, len(prompt))


def decoder_input(context: Ids, answer: Ids, length: int, special: Mapping[str, int]) -> Sample:
    """Part B alone, of `length` tokens, for a context that is encoded once: the original's build_decoder_input.

    `context` holds the mask token; other arguments as for `cloze_input`. The sample's context_length is that of
    `context`, which is not part of it.
    """
    given = np.asarray(context, np.uint32)
    place = int(np.flatnonzero(given == special["mask"])[-1])
    whole = _as_original(given, place, answer, len(given) + length, special, 0)
    ids, targets, loss, positions, blocks, at = whole
    return Sample(ids[at:], targets[at:], loss[at:], positions[at:], blocks[at:], at)


def _as_original(
    context: NDArray[np.uint32], place: int, answer: Ids | None, length: int, special: Mapping[str, int], silent: int
) -> Sample:
    """One row by the kernel, with the original's zeros for targets where there is no loss."""
    targets = np.asarray([] if answer is None else answer, np.uint32)
    closed = not targets.size or int(targets[-1]) == special["eop"]
    inside = targets[:-1] if targets.size and closed else targets
    style = Style(
        sop=special["sop"], eop=special["eop"], pad=special["eos"], mask_ids=np.full(3, special["mask"], np.int64)
    )
    rows = Answers(
        context=context,
        context_offsets=np.array([0, len(context)]),
        mask_place=np.array([place]),
        mask=np.array([0]),
        answer=inside,
        answer_offsets=np.array([0, len(inside)]),
        silent=np.array([silent]),
    )
    pages, context_length, _ = lay_out_answers(rows, style, length, closed=closed)
    page = row_of.py_func(pages, 0)
    page.target_ids[page.loss_mask == 0] = 0
    if not targets.size:
        page.target_ids[len(context)] = 0
    return Sample(
        page.input_ids,
        page.target_ids,
        page.loss_mask,
        page.position_ids,
        page.block_position_ids,
        int(context_length[0]),
    )
