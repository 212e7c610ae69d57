"""Which duplicates stay: the total order among documents, and what it decides in a component.

Every function is a pure function of its arguments and independent of the order of edges and rows, so that the same
texts survive however the corpus was cut.

Without verification a component has one survivor, its best document. With it a document goes only if it is truly like
one that stays. `Settlement` takes the documents of a component from the best on:

1. One that is like a better document that stays goes; the best such is its survivor.
2. One that is like better documents which have all gone is compared with the survivors of those, and goes if it is like
   one of them.
3. Any other stays.

So in a chain of versions, each like the next, those that are no longer like the first stay; and no document goes whose
similarity to its survivor is below the threshold.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import xxhash

from glmdata.dedupe.shingles import Texts, read_only, utf8_buffers
from glmdata.kernels import njit

__all__ = ["Settlement", "choose_survivors", "content_hashes", "survivor_rank"]

_Places = npt.NDArray[np.int64]
_OPEN, _ASKED = -1, -2


def content_hashes(texts: Texts) -> npt.NDArray[np.uint64]:
    """xxh3-128 of each text's UTF-8 bytes.

    Args: texts: as for `glmdata.dedupe.minhash.signatures`; Arrow's bytes are hashed where they lie.
    Returns: uint64[n, 2], high and low half.
    """
    data, offsets = utf8_buffers(texts)
    digests = [xxhash.xxh3_128_digest(data.data[start:end]) for start, end in pairwise(offsets.tolist())]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64).reshape(-1, 2)


def survivor_rank(
    priority: _Places, length: _Places, hashes: npt.NDArray[np.uint64], document_id: npt.NDArray[np.uint64]
) -> _Places:
    """Each document's place in the total order that decides which duplicate stays, 0 the first choice.

    Smaller priority, then longer, then smaller hash, then smaller document id: neither scheduling nor, for different
    texts, file names can decide.

    Args: priority: int64[k], 0 the first. length: int64[k], bytes. hashes: uint64[k, h], of the content that is
        compared and of the bytes, the most significant column first. document_id: uint64[k, 2], (high, low).
    """
    columns = [*document_id.T[::-1], *hashes.T[::-1]]
    order = np.lexsort((*columns, ~length, priority))  # -1 - x: descending, without overflow
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def choose_survivors(labels: npt.NDArray[np.uint64], rank: _Places) -> _Places:
    """The row that survives of each row's component: its best.

    Args: labels: uint64[k], rows with the same label are one component. rank: int64[k], from `survivor_rank`.
    Returns: int64[k], for every row the index of the first row of its component in that order.
    """
    order = np.lexsort((rank, labels))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = labels[order[1:]] != labels[order[:-1]]
    survivors = np.empty(len(order), np.int64)
    survivors[order] = order[is_first][np.cumsum(is_first) - 1]
    return survivors


class Settlement:
    """Decides document by document, from the best on; similarities it lacks are asked for.

    Documents are known by their place in the total order: 0, 1, ... num_documents - 1, the best first.
    `questions()` decides all that can be decided and gives the pairs to compare; `answer()` takes the results. When
    no question is left, `survivors` holds for each document the one that stays for it, itself if it stays.
    """

    def __init__(self, num_documents: int, document: _Places, better: _Places) -> None:
        """Edges document[i] -> better[i] < document[i]: pairs that are alike; repeats are fine."""
        if len(document) and not (better.min() >= 0 and (better < document).all() and document.max() < num_documents):
            raise ValueError("an edge leads from a document to a better one")
        order = np.lexsort((better, document))
        counts = np.bincount(document, minlength=num_documents)
        self._offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._better = np.ascontiguousarray(better[order], np.int64)
        self.survivors = np.full(num_documents, _OPEN, np.int64)

    def questions(self) -> tuple[_Places, _Places]:
        """Pairs (document, one that stays) to compare before the next ones can be decided; none at the end."""
        asked = np.empty((len(self._better), 2), np.int64)
        count = _decide(read_only(self._offsets, np.int64), read_only(self._better, np.int64), self.survivors, asked)
        return asked[:count, 0], asked[:count, 1]

    def answer(self, document: _Places, alike: Iterator[bool] | npt.NDArray[np.bool_], other: _Places) -> None:
        """Results of the pairs asked for: a document goes for the best it is like, or stays."""
        for place, found, survivor in zip(document.tolist(), alike, other.tolist(), strict=True):
            if found and (self.survivors[place] in (_ASKED, place) or survivor < self.survivors[place]):
                self.survivors[place] = survivor
            elif self.survivors[place] == _ASKED:
                self.survivors[place] = place


@njit(nogil=True, cache=True)
def _decide(offsets, better, survivors, asked):  # type: ignore[no-untyped-def]
    """One pass from the best on; the number of pairs written to `asked`."""
    count = 0
    for document in range(len(survivors)):
        if survivors[document] != _OPEN:
            continue
        mine = better[offsets[document] : offsets[document + 1]]
        ready, found = True, document
        for other in mine:
            if survivors[other] < 0:
                ready = False
                break
            if survivors[other] == other:
                found = min(found, other)
        if not ready:
            continue
        if found < document or len(mine) == 0:
            survivors[document] = found
            continue
        first = count
        for other in mine:
            known = False
            for place in range(first, count):
                known = known or asked[place, 1] == survivors[other]
            if not known:
                asked[count, 0], asked[count, 1] = document, survivors[other]
                count += 1
        survivors[document] = _ASKED
    return count
