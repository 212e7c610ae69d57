"""Whole builds of fine-tuning data: every record accounted for, every row as told, the same bytes always."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building import ledger
from corpora import number
from finetune_records import EXAMPLES, prompted, run, text_of, words, write
from progress import Stops

from glmdata.errors import ConfigError, InputError, ShardError
from glmdata.infilling.segments import split_segments
from glmdata.pipelines.build import Built, build
from glmdata.pipelines.page import render_page
from glmdata.recipe import TokenizerSettings, load_recipe
from glmdata.shards.choices import lay_out_choices
from glmdata.shards.reader import Shards
from glmdata.shards.schema import OBJECTIVES
from glmdata.shards.verify import verify
from glmdata.story import tell
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.training import train_tokenizer

DIALOGUES, QUESTIONS, SUMMARIES = 300, 120, 80


def dialogue(place: int) -> dict[str, Any]:
    """Dialogue `place` in one of the conventions, of one to four rounds, in Chinese or English."""
    language = ("zh", "en")[place % 2]
    rounds = 1 + number("rounds", place) % 4
    said = [words(language, 10 * place + turn) for turn in range(2 * rounds)]
    pairs = list(zip(said[::2], said[1::2], strict=True))
    kind = place % 4
    if kind == 0:
        return {"prompt": said[-2], "response": said[-1], "history": [list(pair) for pair in pairs[:-1]]}
    if kind == 1:
        return {"instruction": said[0], "input": "", "output": said[1]}
    names = ("role", "content", "user", "assistant") if kind == 2 else ("from", "value", "human", "gpt")
    messages = [{names[0]: names[2 + turn % 2], names[1]: text} for turn, text in enumerate(said)]
    return {"messages" if kind == 2 else "conversations": messages}


def question(place: int) -> dict[str, Any]:
    choices = [f" {word}" for word in ("yes", "no", "perhaps not")[: 2 + place % 2]]
    return {"text": f"{words('en', place, 3)} So it is [MASK].", "choices": choices, "label": place % len(choices)}


def summary(place: int) -> dict[str, Any]:
    language = ("zh", "en")[place % 2]
    return {"source": words(language, place, 8), "target": words(language, place)}


BAD = ['{"prompt": "q"}', "no json", '{"prompt": "q", "response": ""}', '{"messages": [{"role": "system"}]}']


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune")
    dialogues = [dialogue(place) for place in range(DIALOGUES)]
    write(folder / "sft" / "a.jsonl", dialogues[:200], BAD[:2])
    write(folder / "sft" / "b.jsonl", dialogues[200:], BAD[2:])
    write(folder / "cloze" / "c.jsonl", [question(place) for place in range(QUESTIONS)], ['{"text": "no mask"}'])
    write(folder / "seq2seq" / "s.jsonl", [summary(place) for place in range(SUMMARIES)], ['{"source": "s"}'])
    texts = [words(language, place, 4) for place in range(100) for language in ("zh", "en")]
    model = train_tokenizer([*texts, "[Round 0]\n问：\n答："], TokenizerSettings(vocabulary_size=700))
    (folder / "tokenizer.model").write_bytes(model)
    return folder


@pytest.fixture(scope="module")
def built(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    folder = tmp_path_factory.mktemp("built")
    options = {"sft": ["sequence_length=192"], "cloze": ["sequence_length=128"], "seq2seq": []}
    return {task: run(corpora, task, folder / task, *more) for task, more in options.items()}


@pytest.mark.parametrize(
    ("task", "outcomes"),
    [
        ("sft", {"empty": 1, "kept": DIALOGUES, "quarantined": 3}),
        ("cloze", {"kept": QUESTIONS, "quarantined": 1}),
        ("seq2seq", {"kept": SUMMARIES, "quarantined": 1}),
    ],
)
def test_every_record_has_one_row_in_the_ledger(built: dict[str, Built], task: str, outcomes: dict[str, int]) -> None:
    made, rows = built[task], ledger(built[task])
    assert made.report["outcomes"] == outcomes
    assert made.report["records_in"] == len(rows) == sum(outcomes.values())
    assert len({row["document_id"] for row in rows}) == len(rows)
    tokens = {code: sum(row["tokens"] for row in rows if row["language"] == code) for code in made.report["tokens"]}
    assert tokens == made.report["tokens"]
    assert made.manifest["counts"]["tokens"] == sum(tokens.values())
    refused = [row for row in rows if row["outcome"] == "quarantined"]
    assert sum(kind["count"] for kind in made.report["quarantined"]) == len(refused)
    assert all(row["detail"] for row in refused)


@pytest.mark.parametrize("task", ["sft", "cloze", "seq2seq"])
def test_builds_hold_the_rules_of_rows(built: dict[str, Built], task: str) -> None:
    made = built[task]
    assert list(verify(str(made.folder))) == []
    shards = Shards(str(made.folder))
    kept = {row["document_id"]: row for row in ledger(made) if row["outcome"] == "kept"}
    held, loss = dict.fromkeys(kept, 0), 0
    for place in range(shards.rows):
        row = shards.row(place)
        [identity] = row["document_ids"]
        held[identity] += 1
        loss += int(row["loss_mask"].sum())
        assert OBJECTIVES[row["objective"]] == task
        assert shards.manifest.languages[row["language"]] == kept[identity]["language"]
    assert min(held.values()) >= 1
    assert loss == made.report["finetune"]["target_tokens"]
    assert made.report["samples"] == {task: shards.rows}


def turns_of(record: dict[str, Any]) -> tuple[list[list[str]], int]:
    """Turns of a dialogue, and the first whose response is learned."""
    if "prompt" in record:
        return [*record["history"], [record["prompt"], record["response"]]], len(record["history"])
    if "instruction" in record:
        return [[record["instruction"], record["output"]]], 0
    said = [[*message.values()][1] for message in record.get("messages") or record["conversations"]]
    return [list(pair) for pair in zip(said[::2], said[1::2], strict=True)], 0


def test_rows_of_dialogues_are_their_responses_behind_their_history(built: dict[str, Built], corpora: Path) -> None:
    made = built["sft"]
    shards, tokenizer = Shards(str(made.folder)), Tokenizer.load(corpora / "tokenizer.model")
    found = [text_of(shards, tokenizer, place) for place in range(shards.rows)]
    may_be: dict[str, list[str]] = {}  # by response: contexts of a row, the whole history first
    for place in range(DIALOGUES):
        turns, first = turns_of(dialogue(place))
        for turn in range(first, len(turns)):
            may_be[turns[turn][1]] = [prompted(turns[start : turn + 1]) for start in range(turn + 1)]
    assert sorted(answer for _, answer in found) == sorted(may_be)
    assert all(context in may_be[answer] for context, answer in found)
    cut = sum(context != may_be[answer][0] for context, answer in found)
    assert 0 < cut == made.report["finetune"]["answers_with_history_cut"] < shards.rows / 2
    assert made.report["hints"] == [f"history cut for {cut} of {shards.rows} answers"]
    told = [row["detail"] or "" for row in ledger(made) if row["outcome"] == "kept"]
    assert sum("history cut" in detail for detail in told) <= cut


def test_rows_of_summaries_have_the_mask_in_front(built: dict[str, Built], corpora: Path) -> None:
    shards, tokenizer = Shards(str(built["seq2seq"].folder)), Tokenizer.load(corpora / "tokenizer.model")
    found = {text_of(shards, tokenizer, place) for place in range(shards.rows)}
    records = [summary(place) for place in range(SUMMARIES)]
    assert found == {(f"[CLS][sMASK] Content:{record['source']}", record["target"]) for record in records}


def test_questions_have_their_choices_beside_them(built: dict[str, Built], corpora: Path) -> None:
    shards, tokenizer = Shards(str(built["cloze"].folder)), Tokenizer.load(corpora / "tokenizer.model")
    places = {row["document_id"]: row["record"] for row in ledger(built["cloze"])}
    laid_out = lay_out_choices(shards, np.arange(shards.rows))
    for place in range(shards.rows):
        row = shards.row(place)
        record = question(places[row["document_ids"][0]])
        ends = row["choice_ends"].astype(int)
        assert [tokenizer.decode(ids) for ids in np.split(row["choices"], ends[:-1])] == record["choices"]
        assert row["label"] == laid_out.label[place] == record["label"]
        assert laid_out.num_choices[place] == len(record["choices"])
        context, answer = text_of(shards, tokenizer, place)
        assert (context, answer) == (
            f"[CLS]{record['text'].replace(' [MASK]', '[MASK]')}<|endoftext|>",
            record["choices"][record["label"]],
        )
        for choice, text in enumerate(record["choices"]):
            ids, loss = laid_out.input_ids[place, choice], laid_out.loss_mask[place, choice]
            targets = laid_out.target_ids[place, choice][loss == 1]
            assert tokenizer.decode(targets) == f"{text}<|endofpiece|>"
            assert ids[row["context_length"]] == tokenizer.special.sop
        own = record["label"]
        for name in ("input_ids", "target_ids", "loss_mask"):
            assert np.array_equal(getattr(laid_out, name)[place, own], row[name])
        positions = np.stack([row["position_ids"], row["block_position_ids"]])
        assert np.array_equal(laid_out.position_ids[place, own], positions)
        assert not laid_out.loss_mask[place, len(record["choices"]) :].any()


@pytest.mark.parametrize(("task", "option"), [("sft", "sequence_length=192"), ("cloze", "sequence_length=128")])
@pytest.mark.parametrize(("address", "workers"), [("none", 1), ("none", 5), ("ray", 2)], indirect=["address"])
def test_engines_and_workers_have_no_part_in_the_bytes(
    built: dict[str, Built], corpora: Path, tmp_path: Path, task: str, option: str, address: str, workers: int
) -> None:
    made = run(corpora, task, tmp_path / "out", option, address=address, workers=workers)
    assert made.manifest == built[task].manifest


def test_files_and_their_splits_have_no_part_in_the_rows(
    built: dict[str, Built], corpora: Path, tmp_path: Path
) -> None:
    lines = [line for name in ("b", "a") for line in (corpora / "sft" / f"{name}.jsonl").read_text().splitlines()]
    write(tmp_path / "other" / "z.jsonl", [], lines)
    made = run(corpora, "sft", tmp_path / "out", "sequence_length=192", corpus=tmp_path / "other")
    mine, theirs = (Shards(str(folder)) for folder in (made.folder, built["sft"].folder))
    assert mine.rows == theirs.rows
    for place in range(mine.rows):
        a, b = mine.row(place), theirs.row(place)
        assert all(np.array_equal(a[name], b[name]) for name in a if name != "document_ids")


def test_a_build_of_many_partitions_is_merged_and_goes_on_where_it_stopped(corpora: Path, tmp_path: Path) -> None:
    for place in range(34):  # each fills a partition of 64 kB, and 32 are merged
        records = [{"source": words("zh", 10 * place + n, 150), "target": words("zh", n)} for n in range(7)]
        write(tmp_path / "many" / f"{place}.jsonl", records, [])
    options = ("sequence_length=600", "finetune.max_source_length=400", "finetune.pad_source=true")
    whole = run(corpora, "seq2seq", tmp_path / "whole", *options, corpus=tmp_path / "many")
    assert [stage["name"] for stage in whole.report["stages"]].count("merge") == 1
    assert whole.report["finetune"]["answers_with_source_cut"] == whole.report["rows"] == 34 * 7
    assert list(verify(str(whole.folder))) == []
    with pytest.raises(KeyboardInterrupt):
        run(corpora, "seq2seq", tmp_path / "out", *options, corpus=tmp_path / "many", progress=Stops("layout", "start"))
    progress = Stops()
    again = run(corpora, "seq2seq", tmp_path / "out", *options, corpus=tmp_path / "many", progress=progress)
    assert progress.resumed > 34
    assert again.manifest == whole.manifest


@pytest.mark.parametrize("address", ["none", "ray"], indirect=True)
def test_answers_are_packed_as_segments(corpora: Path, tmp_path: Path, address: str) -> None:
    """Each as it is in a row of its own, none lost; rows are full and do not mix languages."""
    options = ("sequence_length=192", "finetune.cls=true")
    apart = run(corpora, "sft", tmp_path / "apart", *options)
    made = run(corpora, "sft", tmp_path / "packed", *options, "packing=segments", address=address)
    assert list(verify(str(made.folder))) == []
    assert made.report["rows"] < made.report["finetune"]["answers"] == apart.report["rows"]
    assert made.report["padding"] < apart.report["padding"] / 2
    shards, whole = Shards(str(made.folder)), Shards(str(apart.folder))
    packed = [sample for place in range(shards.rows) for sample in split_segments(shards.row(place), shards.style)]
    names = ("input_ids", "target_ids", "loss_mask", "position_ids", "block_position_ids")
    mine = sorted([sample[name][: sample["length"]].tolist() for name in names] for sample in packed)
    rows = [whole.row(place) for place in range(whole.rows)]
    assert mine == sorted([row[name][: row["length"]].tolist() for name in names] for row in rows)
    languages = {row["document_id"]: row["language"] for row in ledger(made)}
    for place in range(shards.rows):
        row = shards.row(place)
        assert len(row["segment_starts"]) == len(row["document_ids"])
        assert {languages[identity] for identity in row["document_ids"]} == {
            made.manifest["languages"][row["language"]]
        }


def test_packing_needs_cls_and_takes_no_choices(corpora: Path, tmp_path: Path) -> None:
    for task, option in (("sft", "finetune.cls=false"), ("cloze", "finetune.cls=true")):
        with pytest.raises(ConfigError, match="packing segments"):
            run(corpora, task, tmp_path / "out", option, "packing=segments")


def test_many_equal_records_stay_and_leave_other_ranges_empty(corpora: Path, tmp_path: Path) -> None:
    write(tmp_path / "equal" / "a.jsonl", [{"prompt": "q", "response": "a"}] * 3000, [])
    made = run(corpora, "sft", tmp_path / "out", "sequence_length=512", corpus=tmp_path / "equal")
    assert made.report["rows"] == 3000
    assert len({Shards(str(made.folder)).row(place)["sample_id"] for place in (0, 1, 2998, 2999)}) == 4
    assert list(verify(str(made.folder))) == []


def test_a_causal_build_learns_the_answer_alone(corpora: Path, tmp_path: Path) -> None:
    made = run(corpora, "cloze", tmp_path / "out", "sequence_length=128", "finetune.causal=true")
    assert list(verify(str(made.folder))) == []
    shards, tokenizer = Shards(str(made.folder)), Tokenizer.load(corpora / "tokenizer.model")
    row = shards.row(0)
    assert row["context_length"] == 2
    assert tokenizer.decode(row["target_ids"][row["loss_mask"] == 1]).endswith("<|endofpiece|>")
    laid_out = lay_out_choices(shards, np.array([0]))
    assert np.array_equal(laid_out.input_ids[0, row["label"]], row["input_ids"])
    assert np.array_equal(laid_out.loss_mask[0, row["label"]], row["loss_mask"])


def test_streams_give_rows_and_choices(built: dict[str, Built]) -> None:
    torch = pytest.importorskip("torch")
    from glmdata.shards.schema import OBJECTIVES
    from glmdata.streaming import ShardStream

    stream = ShardStream(built["cloze"].folder, batch_size=8, epochs=1, choices=True)
    seen = 0
    for batch in stream:
        seen += len(batch["sample_id"])
        rows = torch.arange(len(batch["label"]))
        own = batch["choice_input_ids"][rows, batch["label"]]
        assert torch.equal(own, batch["input_ids"])
        assert torch.equal(batch["choice_position_ids"][rows, batch["label"]], batch["position_ids"])
        assert batch["choice_input_ids"].shape == (8, int(batch["num_choices"].max()), 128)
    assert seen == QUESTIONS
    plain = next(iter(ShardStream(built["sft"].folder, batch_size=4)))
    scalars = {"context_length", "sample_id", "objective", "language"}
    assert set(plain) == {"input_ids", "target_ids", "loss_mask", "position_ids"} | scalars
    assert (plain["objective"] == OBJECTIVES.index("sft")).all()
    with pytest.raises(ShardError, match="no choices"):
        ShardStream(built["sft"].folder, batch_size=4, choices=True)
    masked_anew = ShardStream(built["sft"].folder, batch_size=64, remask=True)
    with pytest.raises(ShardError, match="no row of masked text"):
        list(itertools.islice(masked_anew, 20))


@pytest.mark.parametrize(
    ("recipe", "name", "outcomes"),
    [
        ("sft", "dialogues", {"empty": 1, "kept": 7, "quarantined": 1}),
        ("cloze", "questions", {"kept": 3, "quarantined": 1}),
        (str(EXAMPLES / "reviews.yaml"), "reviews", {"kept": 4, "quarantined": 1}),
        ("seq2seq", "summaries", {"kept": 3, "quarantined": 1}),
    ],
)
def test_the_examples_build(corpora: Path, tmp_path: Path, recipe: str, name: str, outcomes: dict[str, int]) -> None:
    made = run(corpora, recipe, tmp_path / "out", corpus=EXAMPLES / f"{name}.jsonl")
    assert made.report["outcomes"] == outcomes
    assert made.report["finetune"]["answers_with_target_cut"] == 0
    assert list(verify(str(made.folder))) == []


def test_why_tells_of_a_record(built: dict[str, Built], corpora: Path) -> None:
    story = tell(built["sft"].folder, "a.jsonl:2", [str(corpora / "sft")])
    said = [message["content"] for message in dialogue(2)["messages"]]
    assert story.text == "\n".join(said)
    assert len(story.rows) == len(said) // 2
    refused = tell(built["sft"].folder, "a.jsonl:200", [str(corpora / "sft")])
    assert refused.refusal is not None
    assert refused.raw == b'{"prompt": "q"}'


def test_what_cannot_be_built_is_told_before_any_work(corpora: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for option, message in (
        ("shards.layout=compact", "needs materialised"),
        ("spans.sentinels=3", "of pre-training alone"),
        ("decontamination.benchmarks=[b.jsonl]", "of pre-training alone"),
        ("finetune.max_source_length=2047", "leaves no room"),
        ("finetune.pad_source=true", "needs max_source_length"),
        ("finetune.round_template=text", "no {prompt}"),
        ("finetune.fields={question: q}", "finetune.fields"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(corpora, "sft", out, option)
    with pytest.raises(ConfigError, match="--against is of pre-training"):
        run(corpora, "sft", out, against=[str(out)])
    with pytest.raises(ConfigError, match="give its tokenizer with --tokenizer"):
        build([str(corpora / "sft")], out, load_recipe("sft"), make_executor=lambda _: None, progress=Stops())
    with pytest.raises(InputError, match=r"no record of the corpus has a row for finetune\.task cloze; the first"):
        run(corpora, "cloze", out, corpus=corpora / "seq2seq")


def test_the_page_has_a_table_of_the_answers_and_what_was_cut(built: dict[str, Built]) -> None:
    for task, made in built.items():
        page, told = render_page(made.folder), made.report["finetune"]
        assert f"<th>task {task}</th>" in page
        assert f'<td>answers</td><td class="n">{told["answers"]:,}</td>' in page
        for name, line in (("history", "earlier turns"), ("source", "the prompt"), ("target", "the answer")):
            cut = told[f"answers_with_{name}_cut"]
            share = f"{cut / told['answers']:.1%}"
            assert f'<td>with {line} cut</td><td class="n">{cut:,}</td><td class="n soft">{share}</td>' in page
