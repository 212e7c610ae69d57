"""Which rows of a build hold a document."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from glmdata.corpus.documents import DOCUMENT_ID_BYTES
from glmdata.errors import ShardCorruptError, ShardError
from glmdata.shards.folder import open_folder
from glmdata.shards.manifest import Manifest

__all__ = ["rows_holding"]


def rows_holding(place: str | os.PathLike[str], manifest: Manifest, document_id: bytes) -> list[int]:
    """Numbers of the rows that hold some of a document, ascending, as `glmdata inspect --sample` counts them.

    Only the column of ids is read, 30 us a record batch; hashes are not checked.
    Raises ShardError where a shard is missing, ShardCorruptError where it cannot be read.
    """
    wanted = pa.scalar(document_id, pa.binary(DOCUMENT_ID_BYTES))
    found: list[int] = []
    first = 0
    folder = open_folder(place)
    for shard in manifest.shards:
        path = folder.path(shard.path, shard.bytes, shard.xxh3)
        if not path.is_file():
            raise ShardError(f"{path}: missing; copy the build again")
        try:
            with pa.memory_map(str(path)) as file:
                column = pa.ipc.open_file(file).schema.get_field_index("document_ids")
                options = pa.ipc.IpcReadOptions(included_fields=[column], use_threads=False)
                reader = pa.ipc.open_file(file, options=options)
                for number in range(reader.num_record_batches):
                    ids = reader.get_batch(number).column(0)
                    same = np.flatnonzero(pc.equal(ids.values, wanted))
                    if len(same):
                        rows = np.searchsorted(ids.offsets.to_numpy(), same, "right") - 1
                        found += (first + number * manifest.rows_per_record_batch + np.unique(rows)).tolist()
        except (pa.ArrowException, OSError, ValueError) as error:
            told = " ".join(str(error).split())[:200]
            raise ShardCorruptError(f"{path}: cannot be read: {told}; copy the build again") from None
        first += shard.rows
    return found
