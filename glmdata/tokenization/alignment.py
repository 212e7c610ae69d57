"""Where sentences end, counted in tokens; where tokens end, counted in characters."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.kernels import njit
from glmdata.tokenization.tokenizer import Tokenizer

__all__ = ["character_ends", "sentence_token_ends"]


@njit(nogil=True, cache=True)
def _align(tokens, offsets, pieces, prefix, byte_lengths, ends, end_offsets, out, out_offsets, aligned):  # type: ignore[no-untyped-def]
    """One pass over the tokens of all documents; `aligned[i]` is 0 where pieces and bytes do not add up."""
    piece_bytes, piece_leads = pieces
    filled = 0
    for document in range(len(offsets) - 1):
        start, stop = offsets[document], offsets[document + 1]
        total = 0
        whole = True
        for token in range(start, stop):
            size = piece_bytes[tokens[token]]
            whole = whole and size >= 0
            total += size
        aligned[document] = whole and (start == stop or total - prefix == byte_lengths[document])
        if aligned[document]:
            position = -prefix
            token = start
            last = 0
            for place in range(end_offsets[document], end_offsets[document + 1]):
                while token < stop and position + piece_leads[tokens[token]] < ends[place]:
                    position += piece_bytes[tokens[token]]
                    token += 1
                if token - start > last:
                    last = token - start
                    out[filled] = last
                    filled += 1
        out_offsets[document + 1] = filled


def sentence_token_ends(
    tokenizer: Tokenizer,
    texts: pa.StringArray,
    tokens: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    byte_lengths: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int32],
    end_offsets: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Sentence ends in tokens from sentence ends in bytes.

    Args:
        tokenizer: gives the bytes of each piece, and the alignment where those do not add up.
        texts: the documents, without nulls.
        tokens: their ids, joined; document i has tokens[offsets[i]:offsets[i + 1]].
        offsets: int64[documents + 1].
        byte_lengths: UTF-8 bytes of each document.
        ends: exclusive byte offsets in each document, rising; document i has ends[end_offsets[i]:end_offsets[i + 1]].
        end_offsets: int64[documents + 1].

    Returns:
        Exclusive token offsets in each document, rising, the last its number of tokens (none for a document without
        tokens), joined; and int64[documents + 1] offsets into them. White space behind a sentence belongs to it, but
        the space of a piece such as "▁The" goes with its word: a token belongs to the sentence of its first byte that
        is not white space.
    """
    count = len(offsets) - 1
    out = np.empty(len(ends), np.uint32)
    out_offsets = np.zeros(count + 1, np.int64)
    aligned = np.zeros(count, np.uint8)
    pieces = (tokenizer.piece_bytes, tokenizer.piece_leads)
    _align(tokens, offsets, pieces, tokenizer.prefix_bytes, byte_lengths, ends, end_offsets, out,
           out_offsets, aligned)  # fmt: skip
    if aligned.all():
        return out[: out_offsets[-1]], out_offsets
    parts: list[npt.NDArray[Any]] = []
    for document in range(count):
        found = out[out_offsets[document] : out_offsets[document + 1]]
        if not aligned[document]:
            token_ends = tokenizer.piece_ends(texts[document].as_py())
            leads = tokenizer.piece_leads[tokens[offsets[document] : offsets[document + 1]]]
            begins = np.concatenate([[0], token_ends])[:-1] + leads
            places = ends[end_offsets[document] : end_offsets[document + 1]]
            found = np.unique(np.searchsorted(begins, places, "left")).astype(np.uint32)
            found = found[found > 0]
        parts.append(found)
    lengths = np.array([len(part) for part in parts], np.int64)
    return np.concatenate(parts).astype(np.uint32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def character_ends(tokenizer: Tokenizer, tokens: npt.NDArray[Any], characters: int) -> npt.NDArray[np.int64]:
    """Characters of a document up to the end of each of its tokens, one that a token ends inside counted as whole.

    Args:
        tokens: [N] ids of the document.
        characters: how many it has. With models that rewrite text (NFKC, unknown pieces) pieces do not add up to
            that; their characters are then taken in proportion.

    Returns:
        int64[N], never falling, the last is `characters`.
    """
    ends = np.cumsum(tokenizer.piece_characters[tokens], dtype=np.int64)
    ends = np.maximum(ends - tokenizer.prefix_bytes, 0)
    if len(ends) and ends[-1] != characters:
        ends = ends * characters // max(1, int(ends[-1]))
        ends[-1] = characters
    return ends
