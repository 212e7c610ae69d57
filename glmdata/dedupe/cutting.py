"""Taking stretches out of texts, so that what is left still reads as text.

What separates the neighbours of a stretch afterwards is the stronger of the two separations around it: a blank line on
one side of it stays a blank line. A stretch at the beginning or end of a text takes the white space there with it. No
other byte changes, and as stretches begin and end between characters, so do the cuts. Runs at the speed of copying.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from glmdata.dedupe.shingles import read_only, utf8_buffers
from glmdata.kernels import njit

__all__ = ["cut"]


def cut(texts: pa.StringArray, stretches: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> pa.StringArray:
    """The texts without some stretches.

    Args: stretches: int64[k, 2], begin and end in bytes of the text; stretches[offsets[i]:offsets[i + 1]] are those of
        text i, ascending, with more than white space in each and between any two. offsets: int64[len(texts) + 1].
    """
    data, starts = utf8_buffers(texts)
    room = np.empty(int(starts[-1] - starts[0]), np.uint8)
    ends = np.zeros(len(texts) + 1, np.int32)
    _copy_rest(data, starts, read_only(stretches.reshape(-1, 2), np.int64), read_only(offsets, np.int64), room, ends)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(room[: ends[-1]]))


@njit(nogil=True, cache=True)
def _copy_rest(data, starts, stretches, offsets, room, ends):  # type: ignore[no-untyped-def]
    """Copy to `room` what is left of each text; `ends` takes where each begins and ends there."""
    filled = np.int64(0)
    for i in range(len(starts) - 1):
        low, high = np.int64(starts[i]), np.int64(starts[i + 1])
        at = low
        for k in range(offsets[i], offsets[i + 1]):
            begin, end = _widened(data, low, high, low + stretches[k, 0], low + stretches[k, 1])
            if begin > at:
                room[filled : filled + begin - at] = data[at:begin]
                filled += begin - at
            at = max(at, end)
        if high > at:
            room[filled : filled + high - at] = data[at:high]
            filled += high - at
        ends[i + 1] = filled


@njit(nogil=True, cache=True)
def _widened(data, low, high, begin, end):  # type: ignore[no-untyped-def]
    """The stretch with the white space that goes with it, in the text data[low:high]."""
    while begin < end and _is_white(data[begin]):
        begin += 1
    while end > begin and _is_white(data[end - 1]):
        end -= 1
    first, breaks_before, line_before = begin, 0, begin  # white space before, and where its last line begins
    while first > low and _is_white(data[first - 1]):
        first -= 1
        if data[first] == 10:
            line_before = first + 1 if breaks_before == 0 else line_before
            breaks_before += 1
    last, breaks_after, line_after = end, 0, np.int64(-1)
    while last < high and _is_white(data[last]):
        if data[last] == 10:
            breaks_after += 1
            line_after = last + 1
        last += 1
    if line_after < 0:
        line_after = last
    if last == high:
        return first, high
    if first == low:
        return low, line_after
    if breaks_before > breaks_after:
        return line_before, line_after
    return first, end


@njit(nogil=True, cache=True, inline="always")
def _is_white(byte):  # type: ignore[no-untyped-def]
    return byte == 32 or 9 <= byte <= 13
