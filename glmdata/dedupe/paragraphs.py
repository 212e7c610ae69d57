"""Paragraphs that many documents share: menus, licences, footers.

1. A paragraph is a line that holds a letter or digit. It is compared as shingles are: its hash is that of its units, so
   case, width, white space and punctuation have no part. Blank lines and rulers are none; they lie between paragraphs.
2. Each document counts once for each of its paragraphs. *Repeated* are the paragraphs of more than `max_documents`.
3. What is cut are runs of repeated paragraphs, if they are long enough together: the short items of a menu and the
   last words of a wrapped licence go with their neighbours, a heading that many documents have stays where it is. The
   last paragraph of a run stays as well if it is short, something follows, and before it is a blank line or a long
   paragraph: it is rather the heading of what follows than an item of a menu.

Length is counted in letters, a Han or kana character as two of them, digits not at all; paragraphs shorter than
LEAST_LENGTH add nothing to a run. So the cells of a table, one a line, are no run, however often each of them is seen.

Two paragraphs have one hash with
probability 2^-64: among 10^10 different ones each is taken for one of 10^7 repeated ones with probability 5e-13.
Lines are found and hashed at 175 MB/s a core.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.dedupe.shingles import fold_tables, place_units, shingle_capacity, utf8_buffers
from glmdata.kernels import njit
from glmdata.randomness import mix64

__all__ = [
    "Paragraphs",
    "are_members",
    "count_documents",
    "find_paragraphs",
    "lengths_of",
    "merge_counts",
    "repeated_runs",
]

PARAGRAPH_SEED = np.uint64(0xA54FF53A5F1D36F1)  # of sqrt(7), as SHINGLE_FACTOR is of sqrt(3)
PARAGRAPH_FACTOR = np.uint64(0x510E527FADE682D1)  # of sqrt(11)
LEAST_LENGTH = 4
"""Letters of a paragraph that counts: two characters, as menus have them, not the "Yes" and "No" of a table."""
SINGLE_LENGTH = 2
"""Letters that a single character counts for: half a word of five with its space, nearly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraphs:
    """Paragraphs of n texts, one text after another; those of text i are offsets[i] to offsets[i + 1]."""

    hashes: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.int32]
    """In letters."""
    begins: npt.NDArray[np.int32]
    """Where the line begins, in bytes of its text."""
    ends: npt.NDArray[np.int32]
    """Where it ends, without its line break."""
    offsets: npt.NDArray[np.int64]


def find_paragraphs(texts: pa.StringArray) -> Paragraphs:
    """All paragraphs of texts (Arrow strings without nulls)."""
    data, starts = utf8_buffers(texts)
    counts = np.zeros(2, np.int64)
    _count_lines(data, starts, counts)
    room, longest = int(counts[0]), int(counts[1])
    hashes, offsets = np.empty(room, np.uint64), np.zeros(len(starts), np.int64)
    lengths, begins, ends = (np.empty(room, np.int32) for _ in range(3))
    units = np.empty(shingle_capacity(longest), np.uint64)
    letters = np.empty(len(units), np.int32)
    _find(data, starts, *fold_tables(), units, letters, hashes, lengths, begins, ends, offsets)
    count = int(offsets[-1])
    return Paragraphs(
        hashes=hashes[:count], lengths=lengths[:count], begins=begins[:count], ends=ends[:count], offsets=offsets
    )


def lengths_of(texts: pa.StringArray) -> npt.NDArray[np.int64]:
    """Letters of each text, int64[len(texts)]."""
    found = find_paragraphs(texts)
    return np.diff(np.concatenate((np.zeros(1, np.int64), np.cumsum(found.lengths)))[found.offsets])


def count_documents(paragraphs: Paragraphs) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    """Hashes of the paragraphs, ascending and without repeats, and how many of the texts hold each (uint32)."""
    owners = np.repeat(np.arange(len(paragraphs.offsets) - 1, dtype=np.uint32), np.diff(paragraphs.offsets))
    order = np.lexsort((owners, paragraphs.hashes))
    hashes, owners = paragraphs.hashes[order], owners[order]
    first = np.ones(len(hashes), np.bool_)
    first[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    hashes = hashes[first]
    return merge_counts(hashes, np.ones(len(hashes), np.uint32))


def merge_counts(
    hashes: npt.NDArray[np.uint64], counts: npt.NDArray[np.uint32]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    """Hashes in any order with counts: ascending, without repeats, counts added up (to 2^32 - 1 at most)."""
    order = np.argsort(hashes, kind="stable")
    hashes, counts = hashes[order], counts[order]
    first = np.ones(len(hashes), np.bool_)
    first[1:] = hashes[1:] != hashes[:-1]
    places = np.flatnonzero(first)
    sums = np.add.reduceat(counts.astype(np.uint64), places) if len(places) else np.zeros(0, np.uint64)
    return hashes[places], np.minimum(sums, np.uint64(0xFFFFFFFF)).astype(np.uint32)


def are_members(values: npt.NDArray[np.uint64], of: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which values are in the ascending array `of`."""
    if not len(of):
        return np.zeros(len(values), np.bool_)
    members: npt.NDArray[np.bool_] = of[np.minimum(np.searchsorted(of, values), len(of) - 1)] == values
    return members


def repeated_runs(
    paragraphs: Paragraphs, repeated: npt.NDArray[np.bool_], text_bytes: npt.NDArray[np.int64], min_characters: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The runs of repeated paragraphs that are cut.

    Args: repeated: bool for each paragraph. text_bytes: int64[n], the length of each text.
    Returns: stretches int64[k, 2] in bytes of their text, offsets int64[n + 1] of those of each text (both as
        `glmdata.dedupe.cutting.cut` takes them), and int64[n], how many paragraphs of each text they hold.
    """
    texts = len(paragraphs.offsets) - 1
    stretches = np.empty((int(np.count_nonzero(repeated)), 2), np.int64)
    offsets, numbers = np.zeros(texts + 1, np.int64), np.zeros(texts, np.int64)
    _find_runs(
        paragraphs.offsets,
        paragraphs.lengths,
        paragraphs.begins,
        paragraphs.ends,
        repeated,
        text_bytes,
        min_characters,
        stretches,
        offsets,
        numbers,
    )
    return stretches[: offsets[-1]], offsets, numbers


@njit(nogil=True, cache=True)
def _count_lines(data, starts, counts):  # type: ignore[no-untyped-def]
    """Lines of all texts that are not empty, and bytes of the longest."""
    lines, longest = np.int64(0), np.int64(0)
    for i in range(len(starts) - 1):
        begin = np.int64(starts[i])
        end = np.int64(starts[i + 1])
        for at in range(begin, end):
            if data[at] == 10:
                lines += at > begin
                longest = max(longest, at - begin)
                begin = np.int64(at + 1)
        lines += end > begin
        longest = max(longest, end - begin)
    counts[0], counts[1] = lines, longest


@njit(nogil=True, cache=True)
def _find(  # type: ignore[no-untyped-def]
    data, starts, entries, expansions, units, letters, hashes, lengths, begins, ends, offsets
):
    """Fill the columns of `Paragraphs`."""
    count = np.int64(0)
    for i in range(len(starts) - 1):
        low, high = np.int64(starts[i]), np.int64(starts[i + 1])
        begin = low
        while begin < high:
            end = begin
            while end < high and data[end] != 10:
                end += 1
            found = place_units(data, begin, end, entries, expansions, units, letters, None, None)
            if found:
                whole, length = PARAGRAPH_SEED, 0
                for k in range(found):
                    whole = whole * PARAGRAPH_FACTOR + units[k]
                    length += SINGLE_LENGTH if letters[k] < 0 else letters[k]
                hashes[count], lengths[count] = mix64(whole), length
                begins[count], ends[count] = begin - low, end - low
                count += 1
            begin = end + 1
        offsets[i + 1] = count


@njit(nogil=True, cache=True, inline="always")
def _counted(length):  # type: ignore[no-untyped-def]
    return length if length >= LEAST_LENGTH else 0


@njit(nogil=True, cache=True)
def _find_runs(  # type: ignore[no-untyped-def]
    offsets, lengths, begins, ends, repeated, text_bytes, min_characters, stretches, run_offsets, numbers
):
    """Fill `stretches`, `run_offsets` and `numbers` as `repeated_runs` returns them."""
    count = 0
    for i in range(len(offsets) - 1):
        first = offsets[i]
        while first < offsets[i + 1]:
            if not repeated[first]:
                first += 1
                continue
            last, total = first, 0
            while last < offsets[i + 1] and repeated[last]:
                total += _counted(lengths[last])
                last += 1
            following = last
            short = last < offsets[i + 1] and last - first > 1 and lengths[last - 1] < min_characters
            if short and (lengths[last - 2] >= min_characters or begins[last - 1] > ends[last - 2] + 1):
                last -= 1
                total -= _counted(lengths[last])
            if total >= min_characters:
                stretches[count, 0] = 0 if first == offsets[i] else begins[first]
                stretches[count, 1] = text_bytes[i] if last == offsets[i + 1] else ends[last - 1]
                numbers[i] += last - first
                count += 1
            first = following
        run_offsets[i + 1] = count
