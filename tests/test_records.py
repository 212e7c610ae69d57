"""Records of fine-tuning data: every convention that is read, and what is told of those that fit none."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glmdata.corpus.batches import Refused
from glmdata.corpus.documents import Outcome
from glmdata.corpus.examples import Example, parse_example, plain_text
from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.records import converter, example_of
from glmdata.corpus.splits import plan_splits
from glmdata.recipe import CorpusSettings, FinetuneSettings, NormalizationSettings
from glmdata.text.normalization import Normalizer

NORMALIZE = Normalizer(NormalizationSettings())
SFT = FinetuneSettings(task="sft")


def read(value: Any, **settings: Any) -> Example:
    found = example_of(value, FinetuneSettings(**{"task": "sft", **settings}), NORMALIZE)
    return parse_example(found)


def refusal(value: Any, **settings: Any) -> str:
    with pytest.raises(Refused) as caught:
        read(value, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "turns"),
    [
        ({"prompt": "问", "response": "答"}, [["问", "答"]]),
        ({"prompt": "q", "response": "a", "history": [["p", "b"]]}, [["p", "b"], ["q", "a"]]),
        ({"prompt": "q", "response": "a", "history": None}, [["q", "a"]]),
        ({"instruction": "i", "input": "x", "output": "o"}, [["i\nx", "o"]]),
        ({"instruction": "i", "input": "", "output": "o"}, [["i", "o"]]),
        ({"content": "c", "summary": "s"}, [["c", "s"]]),
        ({"question": "c", "answer": "s"}, [["c", "s"]]),
        ({"input": "c", "output": "s"}, [["c", "s"]]),
        ({"prompt": "first", "response": "wins", "instruction": "i", "output": "o"}, [["first", "wins"]]),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, [["q", "a"]]),
        ({"messages": [{"role": r, "content": t} for r, t in (("user", "q"), ("assistant", "a"), ("user", "?"))]},
         [["q", "a"]]),
        ({"prompt": "e\u0301\r\nb\x00", "response": "a"}, [["é\nb", "a"]]),
    ],
)  # fmt: skip
def test_conventions_of_dialogues(value: dict[str, Any], turns: list[list[str]]) -> None:
    assert [list(turn) for turn in read(value).turns] == turns


def test_a_system_message_is_kept_and_history_is_not_learned_again() -> None:
    talk = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert read({"messages": talk}).system == "s"
    assert read({"prompt": "q", "response": "a", "system": "s"}).system == "s"
    assert read({"messages": talk}).first == 0
    assert read({"prompt": "q", "response": "a", "history": [["p", "b"]]}).first == 1


def test_fields_of_the_recipe_come_first() -> None:
    value = {"prompt": "no", "response": "no", "frage": "q", "antwort": "a", "vorher": [["p", "b"]]}
    fields = {"prompt": "frage", "response": "antwort", "history": "vorher"}
    assert read(value, fields=fields).turns == [["p", "b"], ["q", "a"]]
    assert 'no field "frage"; there are prompt' in refusal({"prompt": "q", "response": "a"}, fields=fields)
    assert 'no field "chat"' in refusal(value, fields={"messages": "chat"})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1], "not an object with fields but an array"),
        ({"text": "t"}, "no prompt and response under a known name"),
        ({"prompt": 5.5, "response": None}, 'field "response" is null, not a string'),
        ({"prompt": "q", "response": "a", "history": "h"}, 'field "history" is a string, not a list'),
        ({"prompt": "q", "response": "a", "history": [["p"]]}, '"history" has at place 0 no pair'),
        ({"messages": "m"}, 'field "messages" is a string, not a list of messages'),
        ({"messages": [{"role": "tool", "content": "q"}]}, "message 0 is of 'tool', not of user"),
        ({"messages": [{"role": "assistant", "content": "q"}]}, "message 0 is of assistant, where one of the other"),
        ({"messages": [{"role": "user", "content": "q"}] * 2}, "message 1 is of user, where one of the other side"),
        ({"messages": [{"role": "user", "content": " "}]}, "message 0 is empty"),
        ({"messages": [{"role": "user", "content": ["q"]}]}, 'has an array for "content"'),
        ({"messages": [{"who": "user"}]}, "message 0 has neither role and content nor from and value"),
        ({"messages": [{"role": "user", "content": "q"}]}, "no message of an assistant"),
    ],
)
def test_what_is_no_dialogue_is_refused_with_its_reason(value: Any, reason: str) -> None:
    assert reason in refusal(value)


def test_a_prompt_or_response_of_white_space_is_empty() -> None:
    for value in ({"prompt": " ", "response": "a"}, {"prompt": "q", "response": "\u3000"}, {"messages": []}):
        assert example_of(value, SFT, NORMALIZE) == ""


def test_templates_are_cut_into_parts_at_fields_and_mask() -> None:
    template = "Based on {passage}: {question}? [MASK]. {n}"
    value = {"passage": "p", "question": "q", "n": 3, "label": True}
    found = read(value, task="cloze", template=template, verbalizers={"true": " Yes", "false": " No"})
    literal = [
        (False, "Based on "),
        (True, "p"),
        (False, ": "),
        (True, "q"),
        (False, "?"),
        0,
        (False, ". "),
        (True, "3"),
    ]
    assert [part if isinstance(part, int) else tuple(part) for part in found.parts] == literal
    assert (found.choices, found.label) == ([" No", " Yes"], 1)
    assert plain_text(found) == "Based on p: q?[MASK]. 3\n No\n Yes"


def test_choices_come_with_the_record_or_from_the_recipe() -> None:
    base = {"text": "a [MASK]", "choices": ["x", "y"]}
    assert read({**base, "label": 1}, task="cloze").label == 1
    assert read({**base, "label": "y"}, task="cloze").label == 1
    assert read({"text": "[sMASK]", "candidates": ["x"], "answer": "x"}, task="cloze").parts == [1]
    for label in (2, -1, True, "z", None, 0.0):
        assert "neither one of the choices nor its number" in refusal({**base, "label": label}, task="cloze")
    assert "no list of texts" in refusal({"text": "[MASK]", "choices": [], "label": 0}, task="cloze")
    assert "empty choice" in refusal({"text": "[MASK]", "choices": [" "], "label": 0}, task="cloze")
    assert "has 0 mask tokens" in refusal({"text": "a", "choices": ["x"], "label": 0}, task="cloze")
    assert "has 2 mask tokens" in refusal({"text": "[MASK][gMASK]", "choices": ["x"], "label": 0}, task="cloze")
    assert "no verbalizer" in refusal({"text": "[MASK]", "label": 7}, task="cloze", verbalizers={"1": "x"})


@pytest.mark.parametrize(
    "names",
    [
        ("source", "target"),
        ("article", "highlights"),
        ("document", "summary"),
        ("text", "summary"),
        ("input", "output"),
    ],
)
def test_conventions_of_sources_and_targets(names: tuple[str, str]) -> None:
    found = read({names[0]: "s", names[1]: "t"}, task="seq2seq", template="[sMASK] Content:{source}")
    assert found.parts == [1, [False, " Content:"], [True, "s"]]
    assert found.choices == ["t"]


def records(folder: Path, task: str = "sft") -> list[dict[str, Any]]:
    """All records of a folder, as readers give them."""
    settings, found = CorpusSettings(split_bytes=1 << 16), []
    convert = converter(FinetuneSettings(task=task), NORMALIZE)
    for split in plan_splits(find_files([str(folder)]).files, settings, records=True):
        for batch in read_split(split, settings, NORMALIZE, convert):
            found += [{"uri": split.uri, **row} for row in batch.to_pylist()]
    return found


def test_the_same_records_come_from_lines_and_tables(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"问{n}"}, {"role": "assistant", "content": f"答{n}"}], "n": n}
        for n in range(70)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "b.parquet", row_group_size=30)
    with pa.ipc.new_file(str(tmp_path / "c.arrow"), table.schema) as writer:
        writer.write_table(table)
    found = records(tmp_path)
    by_file = [[row["text"] for row in found if row["uri"] == name] for name in ("a.jsonl", "b.parquet", "c.arrow")]
    assert by_file[0] == by_file[1] == by_file[2]
    assert len(by_file[0]) == 70
    assert all(row["outcome"] == Outcome.KEPT for row in found)


def test_bad_records_are_refused_one_by_one(tmp_path: Path) -> None:
    lines = [
        b'{"prompt": "q", "response": "a"}', b"", b"{", b'{"prompt": "\xff"}', b'{"prompt": "q", "response": " "}',
        b'{"prompt": "\\ud800", "response": "a"}', b'{"prompt": "q2", "response": "a"}',
    ]  # fmt: skip
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    (tmp_path / "b.txt").write_text("no record\n", "utf-8")
    column = pa.array([b"q", b"\xff\xfe", b"q3"], pa.binary()).view(pa.string())
    table = pa.table({"prompt": column, "response": ["a", "b", None]})
    pq.write_table(table, tmp_path / "c.parquet")
    found = records(tmp_path)
    outcomes = [(row["uri"], row["record"], Outcome(row["outcome"]).label) for row in found]
    assert outcomes == [
        ("a.jsonl", 0, "kept"), ("a.jsonl", 1, "quarantined"), ("a.jsonl", 2, "quarantined"), ("a.jsonl", 3, "empty"),
        ("a.jsonl", 4, "quarantined"), ("a.jsonl", 5, "kept"), ("b.txt", -1, "quarantined"),
        ("c.parquet", 0, "kept"), ("c.parquet", 1, "quarantined"), ("c.parquet", 2, "quarantined"),
    ]  # fmt: skip
    details = [row["detail"] for row in found if row["outcome"] == Outcome.QUARANTINED]
    assert "no records with fields" in details[3]
    assert details[4] == "invalid UTF-8"
