"""Pairs of answers: every convention that is read, rows that hold both, and builds that account for every record."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from building import ledger
from characters import CODEC, SPECIAL, shown
from commands import glmdata
from finetune_records import EXAMPLES, prompted, run, text_of, words, write
from hypothesis import given, settings
from hypothesis import strategies as st

from glmdata.corpus.batches import Refused
from glmdata.corpus.examples import Example, parse_example, plain_text
from glmdata.corpus.records import example_of
from glmdata.infilling.contexts import rows_of
from glmdata.pipelines.build import Built
from glmdata.recipe import FinetuneSettings, NormalizationSettings, TokenizerSettings
from glmdata.shards.choices import lay_out_choices
from glmdata.shards.invariants import broken_rules
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify
from glmdata.story import tell
from glmdata.text.normalization import Normalizer
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.training import train_tokenizer

NORMALIZE = Normalizer(NormalizationSettings())
PAIRS = 160
TIES = 3


def read(value: Any, **fields: str) -> Example:
    return parse_example(example_of(value, FinetuneSettings(task="preference", fields=fields), NORMALIZE))


def said(*texts: str, names: tuple[str, ...] = ("role", "content", "user", "assistant")) -> list[dict[str, str]]:
    """Texts as messages, the last of an assistant."""
    first = len(texts) % 2
    return [{names[0]: names[2 + (first + turn) % 2], names[1]: text} for turn, text in enumerate(texts)]


SHAREGPT = ("from", "value", "human", "gpt")


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": "q", "chosen": "a", "rejected": "b", "history": [], "system": None},
        {"question": "q", "response_j": "a", "response_k": "b"},
        {"question": "q", "chosen": "a", "rejected": "b"},
        {"instruction": "q", "input": "", "output": ["a", "b"]},
        {"instruction": "q", "chosen": "a", "rejected": "b"},
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "a", "rejected": "b"},
        {"prompt": "no", "chosen": said("q", "a"), "rejected": said("q", "b")},
        {"chosen": said("q", "a"), "rejected": said("q", "b"), "messages": said("q", "a")},
        {"prompt": [{"role": "user", "content": "q"}], "chosen": said("a"), "rejected": said("b")},
        {"conversations": [{"from": "human", "value": "q"}], "chosen": said("a", names=SHAREGPT)[0],
         "rejected": said("b", names=SHAREGPT)[0]},
    ],
)  # fmt: skip
def test_conventions_of_pairs(value: dict[str, Any]) -> None:
    found = read(value)
    assert (found.system, found.turns, found.first) == ("", [["q", ""]], 0)
    assert (found.choices, found.label) == (["a", "b"], 0)
    assert plain_text(found) == "q\na\nb"


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b", "history": [["p", "o"]], "system": "s"},
        {"system": "s", "chosen": "\n\nHuman: p\n\nAssistant: o\n\nHuman: q\n\nAssistant: a",
         "rejected": "\n\nHuman: p\n\nAssistant: o\n\nHuman: q\n\nAssistant: b"},
        {"chosen": [{"role": "system", "content": "s"}, *said("p", "o", "q", "a")],
         "rejected": [{"role": "system", "content": "s"}, *said("p", "o", "q", "b")]},
        {"conversations": [{"from": "system", "value": "s"}, *said("p", "o", names=SHAREGPT),
                           {"from": "human", "value": "q"}], "chosen": "a", "rejected": "b"},
    ],
)  # fmt: skip
def test_rounds_before_a_pair_are_its_history(value: dict[str, Any]) -> None:
    found = read(value)
    assert (found.system, found.turns, found.first) == ("s", [["p", "o"], ["q", ""]], 1)
    assert found.choices == ["a", "b"]


def test_fields_of_the_recipe_come_first() -> None:
    value = {"prompt": "no", "ask": "q", "more": "i", "good": "a", "bad": "b", "chosen": "no", "rejected": "no"}
    found = read(value, prompt="ask", input="more", chosen="good", rejected="bad")
    assert (found.turns, found.choices) == ([["q\ni", ""]], ["a", "b"])
    assert read({"prompt": "q", "both": ["a", "b"]}, chosen="both", rejected="both").choices == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"prompt": "q", "chosen": "a"}, "no chosen and rejected under a known name; there are prompt, chosen"),
        ({"prompt": "q", "output": ["a"]}, 'field "output" is no list of two answers'),
        ({"prompt": "q", "chosen": "a", "rejected": 5}, 'field "rejected" is a number, neither an answer nor a list'),
        ({"chosen": "a", "rejected": "b"}, 'field "chosen" is no dialogue, as "Human: ... Assistant: ..."'),
        ({"chosen": said("a"), "rejected": said("b")}, "no prompt under a known name, and the answers are no whole"),
        ({"chosen": said("p", "a"), "rejected": said("q", "b")}, "differ before their last message"),
        ({"chosen": said("q", "a"), "rejected": said("q", "a", "q", "b")}, "differ before their last message"),
        ({"chosen": said("q", "a")[:1], "rejected": said("q", "b")}, "does not end with a message of an assistant"),
        ({"prompt": said("q", "a"), "chosen": "a", "rejected": "b"}, '"prompt" does not end with a message of a user'),
    ],
)
def test_what_is_no_pair_is_refused_with_its_reason(value: Any, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        read(value)
    assert reason in str(caught.value)


def test_a_pair_without_prompt_or_answer_is_empty() -> None:
    settings = FinetuneSettings(task="preference")
    for change in ({"prompt": " "}, {"chosen": ""}, {"rejected": "\u3000"}):
        assert example_of({"prompt": "q", "chosen": "a", "rejected": "b", **change}, settings, NORMALIZE) == ""


texts = st.text("ab\n", min_size=1, max_size=60)


@settings(max_examples=80)
@given(st.lists(st.tuples(texts, texts), max_size=4), texts, texts, texts, st.integers(16, 120), st.booleans())
def test_both_answers_are_cut_alike_behind_one_context(
    history: list[tuple[str, str]], prompt: str, chosen: str, rejected: str, length: int, causal: bool
) -> None:
    example = Example(turns=[*history, (prompt, "")], first=len(history), choices=[chosen, rejected])
    options = FinetuneSettings(task="preference", cls=causal, causal=causal)
    [row] = rows_of([example], CODEC, options, length)
    longest = max(map(len, row.answers))
    assert len(row.context) + len(row.silent) + 1 + longest <= length
    for text, answer in zip((chosen, rejected), row.answers, strict=True):
        assert shown(answer) == text[: max(longest, 1)]
    assert longest == max(len(chosen), len(rejected)) or longest >= (length - 1) // 2
    assert row.target_cut == len(chosen) + len(rejected) - sum(map(len, row.answers))
    assert row.context[row.mask_place] == SPECIAL.gmask
    longer = example._replace(choices=[max(chosen, rejected, key=len)] * 2)
    [alone] = rows_of([longer], CODEC, options, length)
    assert (shown(alone.context), shown(alone.silent)) == (shown(row.context), shown(row.silent))


def pair(place: int) -> dict[str, Any]:
    """Pair `place` in one of the conventions, of one or two rounds, in Chinese or English."""
    language = ("zh", "en")[place % 2]
    prompt, chosen, rejected, *rounds = (words(language, 20 * place + part, 1 + part % 2) for part in range(5))
    kind = place % 5
    if kind == 0:
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "history": [rounds]}
    if kind == 1:
        return {"instruction": prompt, "input": "", "output": [chosen, rejected]}
    if kind == 2:
        return {"chosen": said(*rounds, prompt, chosen), "rejected": said(*rounds, prompt, rejected)}
    if kind == 3:
        spoken = zip(("Human", "Assistant", "Human"), [*rounds, prompt], strict=True)
        told = "".join(f"\n\n{who}: {text}" for who, text in spoken)
        return {"chosen": f"{told}\n\nAssistant: {chosen}", "rejected": f"{told}\n\nAssistant: {rejected}"}
    return {"question": prompt, "response_j": chosen, "response_k": rejected}


def as_read(place: int) -> tuple[list[list[str]], list[str]]:
    """Rounds of a pair, its prompt last, and both answers."""
    found = read(pair(place))
    return [list(turn) for turn in found.turns], found.choices


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    ties = [{"prompt": f"q{n}", "chosen": "e\u0301", "rejected": "é"} for n in range(TIES - 1)]
    ties.append({"prompt": "q", "chosen": words("en", 5, 40), "rejected": words("en", 5, 40) + " And more."})
    bad = ['{"prompt": "q"}', "no json", '{"prompt": "q", "chosen": "", "rejected": "b"}']
    write(folder / "preference" / "a.jsonl", [pair(place) for place in range(100)], bad)
    write(folder / "preference" / "b.jsonl", [*(pair(place) for place in range(100, PAIRS)), *ties], [])
    sample = [words(language, place, 4) for place in range(100) for language in ("zh", "en")]
    model = train_tokenizer([*sample, "[Round 0]\n问：\n答："], TokenizerSettings(vocabulary_size=700))
    (folder / "tokenizer.model").write_bytes(model)
    return folder


@pytest.fixture(scope="module")
def built(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run(corpora, "preference", tmp_path_factory.mktemp("built") / "out", "sequence_length=256")


def test_every_pair_has_one_row_in_the_ledger(built: Built) -> None:
    rows = ledger(built)
    outcomes = {"empty": 1, "kept": PAIRS, "quarantined": 2, "tie": TIES}
    assert built.report["outcomes"] == outcomes
    assert built.report["records_in"] == len(rows) == sum(outcomes.values())
    assert built.report["samples"] == {"preference": PAIRS}
    assert built.report["finetune"]["answers"] == PAIRS
    details = [row["detail"] for row in rows if row["outcome"] == "tie"]
    same = "chosen and rejected are the same"
    assert sorted(details) == [*[same] * (TIES - 1), f"{same} up to where they are cut"]
    assert built.manifest["counts"]["tokens"] == sum(row["tokens"] for row in rows)


def test_rows_hold_both_answers_behind_their_context(built: Built, corpora: Path) -> None:
    assert list(verify(str(built.folder))) == []
    shards, tokenizer = Shards(str(built.folder)), Tokenizer.load(corpora / "tokenizer.model")
    laid_out = lay_out_choices(shards, np.arange(shards.rows))
    may_be = {}
    for place in range(PAIRS):
        turns, choices = as_read(place)
        may_be[tuple(choices)] = {prompted(turns[start:]) for start in range(len(turns))}
    for place in range(shards.rows):
        row = shards.row(place)
        choices = [tokenizer.decode(ids) for ids in np.split(row["choices"], row["choice_ends"][:-1])]
        context, answer = text_of(shards, tokenizer, place)
        assert (row["label"], answer) == (0, choices[0])
        assert context in may_be.pop(tuple(choices))
        inputs, loss, head = laid_out.input_ids[place], laid_out.loss_mask[place], row["context_length"]
        assert np.array_equal(inputs[0], row["input_ids"])
        assert np.array_equal(inputs[0, : head + 1], inputs[1, : head + 1])
        for text, ids, learned in zip(choices, laid_out.target_ids[place], loss, strict=True):
            assert tokenizer.decode(ids[learned == 1]) == f"{text}<|endofpiece|>"
    assert may_be == {}


@pytest.mark.parametrize(("address", "workers"), [("none", 1), ("ray", 2)], indirect=["address"])
def test_engines_and_workers_have_no_part_in_the_bytes(
    built: Built, corpora: Path, tmp_path: Path, address: str, workers: int
) -> None:
    made = run(corpora, "preference", tmp_path / "out", "sequence_length=256", address=address, workers=workers)
    assert made.manifest == built.manifest


def test_broken_pairs_are_found(built: Built) -> None:
    shards = Shards(str(built.folder))
    with pa.memory_map(str(built.folder / shards.manifest.shards[0].path)) as file:
        batch = pa.ipc.open_file(file).get_batch(0)
        assert dict(broken_rules(batch, shards.manifest)) == {}

        def found(name: str, values: Any) -> set[str]:
            place = batch.schema.get_field_index(name)
            field = batch.schema.field(place)
            changed = batch.set_column(place, field, pa.array(values, field.type))
            return {rule.split(":")[0] for rule in dict(broken_rules(changed, shards.manifest))}

        lists, ends = batch["choices"].to_pylist(), batch["choice_ends"].to_pylist()
        firsts = [ids[: end[0]] for ids, end in zip(lists, ends, strict=True)]
        alike = batch.set_column(
            batch.schema.get_field_index("choices"),
            batch.schema.field("choices"),
            pa.array([2 * ids for ids in firsts], batch.schema.field("choices").type),
        )
        kind = batch.schema.field("choice_ends")
        twice = pa.array([[len(ids), 2 * len(ids)] for ids in firsts], kind.type)
        alike = alike.set_column(batch.schema.get_field_index("choice_ends"), kind, twice)
        assert [rule.split(":")[0] for rule in dict(broken_rules(alike, shards.manifest))] == ["preference"]
        assert "preference" in found("label", [1] * batch.num_rows)
        assert "choices" in found("choices", [ids + [0] * 256 for ids in lists])


def test_a_pair_is_shown_with_its_answers(built: Built, corpora: Path) -> None:
    shown_pair = glmdata("inspect", str(built.folder), "--sample", "0", "--json")
    found = json.loads(shown_pair.stdout)
    assert len(found["choices"]) == 2
    assert found["label"] == 0
    printed = glmdata("inspect", str(built.folder), "--sample", "0").stdout
    assert f"chosen 0: {found['choices'][0][:20]}" in printed
    assert f"rejected 1: {found['choices'][1][:20]}" in printed
    story = tell(built.folder, f"b.jsonl:{PAIRS - 100}", [str(corpora / "preference")])
    assert (story.entry.outcome, story.text) == ("tie", "q0\né\né")
    told = glmdata("why", str(built.folder), f"b.jsonl:{PAIRS - 100}", "--corpus", str(corpora / "preference")).stdout
    assert "left here: tie; chosen and rejected are the same" in told
    assert "preference" in glmdata("inspect", str(built.folder), "--stats").stdout


def test_the_examples_build(corpora: Path, tmp_path: Path) -> None:
    made = run(corpora, "preference", tmp_path / "out", corpus=EXAMPLES / "preferences.jsonl")
    assert made.report["outcomes"] == {"kept": 7, "quarantined": 1, "tie": 1}
    assert list(verify(str(made.folder))) == []
