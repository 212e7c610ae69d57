"""Samples of a finished build as a person reads them: text with its spans in place, and where each is in the row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glmdata.infilling.restore import Restored, restore
from glmdata.infilling.segments import split_segments, token_segments, visible_keys, whole_segments
from glmdata.infilling.style import Style
from glmdata.shards.compact import matrices
from glmdata.shards.reader import Shards
from glmdata.shards.schema import OBJECTIVES
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.model_file import BYTE

__all__ = ["Part", "Sample", "SampleReader", "Span", "attention_sketch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A masked span of a part; places are counted from the beginning of the part."""

    place: int
    """Which span of Part B it is, from 0."""
    start: int
    end: int
    """Half-open, in the tokens before masking."""
    mask: int
    """Of its mask token in Part A."""
    first: int
    """Of its sop in Part B."""
    stop: int
    """Behind its last input."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a model sees as one sample: the whole row, or one of its segments."""

    start: int
    """Its place in the row."""
    length: int
    context_length: int
    tokens: int
    """Before masking."""
    spans: tuple[Span, ...]
    """In text order."""
    texts: tuple[str, ...]
    """What stands visibly before, between and behind the spans: one more than there are spans."""
    columns: dict[str, npt.NDArray[Any]]
    """The matrices' values, [length] each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A row of a build."""

    number: int
    sample_id: int
    objective: str
    language: str
    length: int
    context_length: int
    text: str
    restored: Restored
    parts: tuple[Part, ...]
    document_ids: tuple[bytes, ...]
    choices: tuple[str, ...]
    """Answers to choose from, of rows that have them."""
    label: int
    """Which of them is the row's own."""
    row: dict[str, Any]

    @property
    def masked(self) -> int:
        """Tokens in spans."""
        return int((self.restored.spans[:, 1] - self.restored.spans[:, 0]).sum())


class SampleReader:
    """Samples by number, with the tokenizer that spells them."""

    def __init__(self, shards: Shards) -> None:
        """Load the build's tokenizer."""
        self.shards = shards
        self.tokenizer = Tokenizer.load(shards.file("tokenizer.model"))
        entry = shards.manifest.tokenizer
        self._spelled = {entry.special_tokens[role]: text for role, text in entry.special_token_texts.items()}
        self._spelled[entry.special_tokens["sop"]] = "[sop]"

    def spell(self, token: int) -> str:
        """One token: a piece, or the text of a special one."""
        return self._spelled.get(token) or self.tokenizer.piece(token)

    def read(self, number: int, epoch: int = 0) -> Sample:
        """The row with that number, in the shards' order, masked as ShardStream's `remask` does for an epoch.

        Raises as Shards.row, and ShardError where a row has no masks to be drawn anew.
        """
        row, style = self.shards.row(number), self.shards.style
        if epoch:
            row |= self._masked_anew(number, epoch)
        restored = restore(row, style)
        parts, start = [], 0
        for columns in split_segments(row, style):
            parts.append(self._part(columns, start, style))
            start += parts[-1].length
        return Sample(
            number=number,
            sample_id=int(row["sample_id"]),
            objective=OBJECTIVES[int(row["objective"])],
            language=self.shards.manifest.languages[int(row["language"])],
            length=int(row["length"]),
            context_length=int(row["context_length"]),
            text=self.tokenizer.decode(restored.tokens),
            restored=restored,
            parts=tuple(parts),
            document_ids=tuple(row["document_ids"]),
            choices=self._choices(row),
            label=int(row.get("label", 0)),
            row=row,
        )

    def _masked_anew(self, number: int, epoch: int) -> dict[str, Any]:
        """The columns of a row that depend on its masks."""
        from glmdata.infilling.remask import mask_again

        shards, epochs = self.shards, np.array([epoch], np.int64)
        rows = shards.unmasked(np.array([number]), sentence_ends=True)
        mask_again(rows, epochs, shards.rules, shards.style, shards.manifest.seed)
        made = matrices(rows, shards.style, shards.manifest.seed, epochs)
        return {name: values[0] for name, values in made.items()}

    def _choices(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        if "label" not in row:
            return ()
        return tuple(self.tokenizer.decode(ids) for ids in np.split(row["choices"], row["choice_ends"][:-1]))

    def _spelled_bytes(self, tokens: npt.NDArray[np.int64]) -> list[bytes]:
        """What each token stands for in the text, so that a cut between two of them loses no space and no byte."""
        found, kinds, fresh = [], self.tokenizer.piece_kinds, True
        for token in tokens.tolist():
            special = token >= len(kinds)
            if not special and kinds[token] == BYTE:
                found.append(bytes([int(self.tokenizer.piece(token)[3:5], 16)]))
            else:  # the space that SentencePiece puts before a text is none of it
                text = self.tokenizer.decode([token]) if fresh or special else self.tokenizer.piece(token)
                found.append(text.encode("utf-8", "replace"))
            fresh = special
        return found

    def _part(self, row: dict[str, Any], start: int, style: Style) -> Part:
        length, context = int(row["length"]), int(row["context_length"])
        restored = restore(row, style._replace(apart=False))
        tokens, order = self._spelled_bytes(restored.tokens), restored.order
        sizes = restored.spans[:, 1] - restored.spans[:, 0]
        masks = restored.spans[:, 0] - np.cumsum(sizes - 1) + sizes - 1
        ids = np.asarray(row["input_ids"][context:length]).astype(np.int64)
        firsts = np.flatnonzero(np.isin(ids, style.all_sop_ids())) + context
        stops = np.append(firsts[1:], length)
        spans, texts, last = [], [], 0
        for number, place in enumerate(np.argsort(order, kind="stable").tolist()):
            first, end = map(int, restored.spans[number])
            spans.append(
                Span(
                    place=place,
                    start=first,
                    end=end,
                    mask=int(masks[number]),
                    first=int(firsts[place]),
                    stop=int(stops[place]),
                    text=_text(tokens[first:end]),
                )
            )
            texts.append(_text(tokens[last:first]))
            last = end
        texts.append(_text(tokens[last:]))
        names = ("input_ids", "target_ids", "loss_mask", "position_ids", "block_position_ids")
        return Part(
            start=start,
            length=length,
            context_length=context,
            tokens=len(tokens),
            spans=tuple(spans),
            texts=tuple(texts),
            columns={name: np.asarray(row[name][:length]) for name in names},
        )


def _text(tokens: Sequence[bytes]) -> str:
    """Text of tokens; of a character that is cut in two each side shows its bytes."""
    return b"".join(tokens).decode("utf-8", "backslashreplace")


def attention_sketch(parts: Sequence[Part], length: int, cells: int) -> npt.NDArray[np.bool_]:
    """Which keys queries see, as [cells, cells] places at even distances in the real tokens of a row."""
    starts = np.array([part.start for part in parts], np.int64)
    sizes = np.array([part.length for part in parts], np.int64)
    contexts = np.array([part.context_length for part in parts], np.int64)
    ids, ends = token_segments(whole_segments(starts, contexts, sizes), 1, length)
    places = ((np.arange(cells) + 0.5) * length / cells).astype(np.int64)
    return visible_keys(ids[0], ends[0], places, places)
