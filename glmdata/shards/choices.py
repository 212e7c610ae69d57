"""The answers that a row could have, each laid out as the row itself is: what a choice among them is trained on.

A row of a cloze question holds the right answer, one of a preference the chosen one; other choices lie beside it as
tokens. Here they take its place, one after the other, in the same context: log probabilities of their tokens, added up,
are what the choice is made by (reference section 2, "multi-token verbalizer"), and what DPO compares.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from glmdata.errors import ShardError
from glmdata.shards.reader import Shards

__all__ = ["Choices", "choice_columns", "lay_out_choices"]


class Choices(NamedTuple):
    """B rows with C choices, C being the most that one of them has; L = sequence length."""

    input_ids: npt.NDArray[np.int64]
    """[B, C, L]; pad where a row has fewer choices, all else zero there."""
    target_ids: npt.NDArray[np.int64]
    """[B, C, L]"""
    loss_mask: npt.NDArray[np.float32]
    """[B, C, L]"""
    position_ids: npt.NDArray[np.int64]
    """[B, C, 2, L] positions, block positions."""
    num_choices: npt.NDArray[np.int64]
    """[B]"""
    label: npt.NDArray[np.int64]
    """[B] the right one; its row is the row of the shard."""


def choice_columns(shards: Shards, numbers: npt.NDArray[np.integer]) -> dict[str, npt.NDArray[Any]]:
    """The choices of some rows as a batch names them: choice_input_ids and so on, num_choices and label."""
    found = lay_out_choices(shards, numbers)._asdict()
    return {name if name in ("num_choices", "label") else f"choice_{name}": array for name, array in found.items()}


def lay_out_choices(shards: Shards, numbers: npt.NDArray[np.integer]) -> Choices:
    """The choices of some rows, by their numbers in the build, [B].

    Raises ShardError where the build has none; otherwise as `Shards.row`.
    """
    from glmdata.infilling.answers import Answers, lay_out_answers

    manifest, style = shards.manifest, shards.style
    if not manifest.has_choices:
        raise ShardError(f"{shards.folder}: its rows have no choices; those of cloze and preference have")
    rows = [shards.row(int(number)) for number in numbers]
    counts = np.array([len(row["choice_ends"]) for row in rows], np.int64)
    contexts, places, masks, silents, answers = [], [], [], [], []
    for row in rows:
        context, length = row["context_length"], row["length"]
        head, ids = row["input_ids"][:context], row["input_ids"]
        place = int(row["position_ids"][context])
        quiet = int((row["loss_mask"][context:length] == 0).sum())
        before = ids[context + 1 : context + 1 + quiet]
        mask = int(np.flatnonzero(style.mask_ids == ids[place])[0])
        for choice in np.split(row["choices"], row["choice_ends"][:-1].astype(np.int64)):
            contexts.append(head)
            places.append(place)
            masks.append(mask)
            silents.append(quiet)
            answers.append(np.concatenate([before, choice]))
    told = Answers(
        context=np.concatenate(contexts).astype(np.uint32),
        context_offsets=np.cumsum([0, *map(len, contexts)]),
        mask_place=np.array(places, np.int64),
        mask=np.array(masks, np.int64),
        answer=np.concatenate(answers).astype(np.uint32),
        answer_offsets=np.cumsum([0, *map(len, answers)]),
        silent=np.array(silents, np.int64),
    )
    pages, _, _ = lay_out_answers(told, style, manifest.sequence_length)
    shape = (len(rows), int(counts.max(initial=0)), manifest.sequence_length)
    there = np.arange(shape[1]) < counts[:, None]
    ids, targets = np.full(shape, style.pad, np.int64), np.zeros(shape, np.int64)
    loss, positions = np.zeros(shape, np.float32), np.zeros((*shape[:2], 2, shape[2]), np.int64)
    ids[there], targets[there], loss[there] = pages.input_ids, pages.target_ids, pages.loss_mask
    positions[there] = np.stack([pages.position_ids, pages.block_position_ids], axis=1)
    label = np.array([row["label"] for row in rows], np.int64)
    return Choices(ids, targets, loss, positions, counts, label)
