"""Documents from a file of many, cut and put where they belong in a stretch of a stream."""

from glmdata.kernels import njit

__all__ = ["copy_documents"]


@njit(nogil=True, cache=True)
def copy_documents(  # type: ignore[no-untyped-def]
    places, rows, firsts, lasts, offsets, slots, token_offsets, token_values, end_offsets, end_values, tokens, ends
):
    """Copy the documents that a file has of a stretch: their tokens, and their sentence ends as places in the stretch.

    Args:
        places: int64, which documents of the stretch these are; the next five arrays have one entry for each of all.
        rows: int64, where a document is in the file.
        firsts, lasts: int64, the tokens [first, last) of it that are taken.
        offsets: int64, where they begin in `tokens`.
        slots: int64, where its sentence ends begin in `ends`; there is room for one more than it has.
        token_offsets, token_values: int64[documents of the file + 1] and the tokens of the file.
        end_offsets, end_values: the same of its sentence ends, counted in tokens of their document.
        tokens: written.
        ends: int64, written; the last token taken ends a sentence too. What is not written stays.
    """
    for place in places:
        row, first, last = rows[place], firsts[place], lasts[place]
        begin = offsets[place]
        source = token_offsets[row] + first
        for at in range(last - first):
            tokens[begin + at] = token_values[source + at]
        slot = slots[place]
        for at in range(end_offsets[row], end_offsets[row + 1]):
            if first < end_values[at] < last:
                ends[slot] = begin + end_values[at] - first
                slot += 1
        ends[slot] = begin + last - first
