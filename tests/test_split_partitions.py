"""A partition that is too large for the memory there is split, and the build keeps its bytes."""

import json
from pathlib import Path
from typing import Any

import finetune_records
import numpy as np
import pyarrow as pa
import pytest
from building import contents, ledger_of, run
from corpora import QUESTION, document, write_texts
from hypothesis import given
from hypothesis import strategies as st
from progress import Stops

from glmdata.errors import TaskFailedError
from glmdata.pipelines.engine import Attempt, Call, Result
from glmdata.pipelines.local import ThreadExecutor
from glmdata.pipelines.partitions import joined_columns, row_pieces
from glmdata.pipelines.scheduling import KilledForMemoryError
from glmdata.recipe import TokenizerSettings
from glmdata.tokenization.training import train_tokenizer

PIECE_BYTES = 5000
"""What the machine of these tests can hold; partitions have up to 65,536 bytes."""


class Starved(ThreadExecutor):
    """Kills whoever works on more text at a time than there is memory for."""

    def __init__(self, *stages: str, piece_bytes: int = PIECE_BYTES) -> None:
        super().__init__(2)
        self._stages, self._piece_bytes = stages, piece_bytes
        self._calls: dict[Any, Call] = {}
        self.split: dict[str, set[int]] = {}
        """Of each stage, the partitions that were done in pieces."""

    def submit(self, call: Call, memory_bytes: int) -> Any:
        handle = super().submit(call, memory_bytes)
        self._calls[handle] = call
        return handle

    def result(self, handle: Any) -> Result:
        call = self._calls.pop(handle)
        found = super().result(handle)
        if call.stage in self._stages:
            if not 0 < call.piece_bytes <= self._piece_bytes:
                raise KilledForMemoryError("its worker was killed, since memory ran out")
            self.split.setdefault(call.stage, set()).add(call.index)
        return found


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    zh, en = ([document(code, index) for index in range(150)] for code in ("zh", "en"))
    licence = f"{document('en', 1234, 3)}\n"
    zh[3] = f"{zh[3]}\n{QUESTION}"
    zh[140] = f"{QUESTION}\n{zh[140]}"
    shared = [licence + text if place % 9 == 0 else text for place, text in enumerate(en)]
    return write_texts(tmp_path_factory.mktemp("corpus"), {"zh.jsonl": [*zh, *zh[:9], "  "], "en.jsonl": shared})


def test_builds_in_pieces_have_the_bytes_of_the_whole(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": QUESTION}) + "\n", "utf-8")
    options = (
        f"decontamination.benchmarks={json.dumps([str(tmp_path / 'b.jsonl')])}",
        "decontamination.action=cut",
        "paragraphs.max_documents=5",
        'balance.source_weights={"zh*": 1.5}',
    )
    run(texts, tmp_path / "whole", *options)
    starved, progress = Starved("sign", "paragraphs", "clean", "tokenize"), Stops()
    run(texts, tmp_path / "split", *options, executor=starved, progress=progress)
    assert starved.split.keys() == {"sign", "paragraphs", "clean", "tokenize"}
    assert all(len(indices) > 1 for indices in starved.split.values())
    assert any(message.endswith(" bytes of text at a time") for message in progress.messages)
    assert contents(tmp_path / "split") == contents(tmp_path / "whole")
    cut = [row["detail"] for row in ledger_of(tmp_path / "split") if (row["detail"] or "").startswith("cut")]
    assert sum("paragraph" in detail for detail in cut) == 17
    assert sum("benchmark" in detail for detail in cut) == 2


@pytest.mark.parametrize("task", ["sft", "preference"])
def test_fine_tuning_data_in_pieces_are_those_of_the_whole(task: str, tmp_path: Path) -> None:
    said = [finetune_records.words(code, place) for place in range(120) for code in ("zh", "en")]
    answers = ("response",) if task == "sft" else ("chosen", "rejected")
    records = [
        {"prompt": said[place - 1], **{name: said[place - 2 - n] for n, name in enumerate(answers)}}
        for place in range(len(said))
    ]
    records[7][answers[-1]] = records[7][answers[0]]
    finetune_records.write(tmp_path / task / "a.jsonl", records, ["no json"])
    (tmp_path / "tokenizer.model").write_bytes(train_tokenizer(said, TokenizerSettings(vocabulary_size=700)))
    options = ("sequence_length=192",)
    finetune_records.run(tmp_path, task, tmp_path / "whole", *options)
    starved = Starved("encode")
    finetune_records.run(tmp_path, task, tmp_path / "split", *options, executor=starved)
    assert starved.split["encode"]
    assert contents(tmp_path / "split") == contents(tmp_path / "whole")
    ties = sum(row["outcome"] == "tie" for row in ledger_of(tmp_path / "split"))
    assert ties == (1 if task == "preference" else 0)


def test_one_record_that_is_too_large_is_named_with_what_to_set(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskFailedError, match=r"sign.*\(..\.jsonl\).*memory ran out.*corpus\.max_record_bytes=N"):
        run(texts, tmp_path / "out", executor=Starved("sign", piece_bytes=1))


@given(sizes=st.lists(st.integers(0, 50), max_size=30), piece_bytes=st.integers(0, 120))
def test_pieces_are_all_rows_in_order_and_no_larger_than_said(sizes: list[int], piece_bytes: int) -> None:
    attempt = Attempt(Path(), "stage", 0, "a")
    attempt.piece_bytes = piece_bytes
    pieces = list(row_pieces(attempt, np.array(sizes, np.int64)))
    rows = pa.array(range(len(sizes)), pa.int64())
    assert joined_columns([{"row": rows[piece]} for piece in pieces])["row"] == rows
    if piece_bytes == 0:
        assert len(pieces) == 1
        return
    for piece in pieces:
        held = sizes[piece]
        assert sum(held) <= piece_bytes or len(held) == 1
        assert piece.stop == len(sizes) or sum(held) + sizes[piece.stop] > piece_bytes
