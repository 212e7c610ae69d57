"""What is said of a finished model: scores of choices, losses, accuracy, and the answers that it writes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import glmdata
from models import torch
from tuning import ANSWERS, options

from glmdata.cli.evaluate import command as evaluate_command
from glmdata.errors import ConfigError
from glmdata.model.checkpoint import load_pretrained
from glmdata.model.loss import token_losses
from glmdata.streaming import ShardStream
from glmdata.training.choices import choice_log_probabilities, first_token_log_probabilities
from glmdata.training.cloze import answers_of
from glmdata.training.finetune import finetune


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_scores_of_choices_are_those_of_each_row_by_itself(world: Path, penalty: float) -> None:
    model = load_pretrained(world / "base").model
    batch = next(iter(ShardStream(world / "several", 5, choices=True)))
    found = choice_log_probabilities(model, batch)
    expected = torch.zeros(5, 2)
    for row in range(5):
        for choice in range(2):
            logits = model(
                batch["choice_input_ids"][row, choice][None],
                batch["choice_position_ids"][row, choice][None],
                batch["context_length"][row : row + 1],
            )
            losses = token_losses(logits[0], batch["choice_target_ids"][row, choice])
            mask = batch["choice_loss_mask"][row, choice]
            expected[row, choice] = -(losses * mask).sum() / mask.sum() ** penalty
    torch.testing.assert_close(found.scores / found.tokens**penalty, expected, atol=1e-4, rtol=1e-5)


def test_single_tokens_need_one_row_for_all_choices(world: Path) -> None:
    assert answers_of(ShardStream(world / "single", 1).shards).single
    assert not answers_of(ShardStream(world / "several", 1).shards).single
    model = load_pretrained(world / "base").model
    batch = next(iter(ShardStream(world / "single", 5, choices=True)))
    ids, context = batch["choice_input_ids"], batch["context_length"]
    expected = torch.zeros(5, 2)
    for row in range(5):
        for choice in range(2):
            place = int(context[row])
            logits = model(
                ids[row, choice][None], batch["choice_position_ids"][row, choice][None], context[row : row + 1]
            )
            expected[row, choice] = logits[0, place].log_softmax(-1)[ids[row, choice, place + 1]]
    found = first_token_log_probabilities(model, batch)
    torch.testing.assert_close(found.scores, expected, atol=1e-5, rtol=1e-5)


def test_answers_are_learnt_by_heart_and_given(world: Path, tmp_path: Path) -> None:
    given = {"steps": 70, "batch_size": 3, "learning_rate": 1e-2, "weight_decay": 0.0, "save_every": 1000}
    last = finetune(options(world, "sft", tmp_path, **given))
    assert last["loss"] < 0.3
    assert set(last["objectives"]) == {"sft"}
    prompts = [argument for prompt in ANSWERS for argument in ("--prompt", f"{prompt}[gMASK]")]
    done = glmdata("generate", tmp_path, "--no-cls", *prompts)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"{prompt}{answer}\n" for prompt, answer in ANSWERS.items())
    evaluate = [
        str(tmp_path),
        "--shards",
        str(world / "sft"),
        "--generate",
        "--answers",
        str(tmp_path / "answers.jsonl"),
    ]
    told_of = json.loads(run_evaluate([*evaluate, "--json"]))
    assert told_of["rows"] == 3
    assert told_of["generated"] == {"answers": 3, "cut": 0, "rouge_1": 1, "rouge_2": 1, "rouge_l": 1}
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text("utf-8").splitlines()]
    assert [line["row"] for line in lines] == [0, 1, 2]
    assert {line["given"] for line in lines} == {line["expected"] for line in lines} == set(ANSWERS.values())
    shown = run_evaluate([*evaluate, "--holdout", "2", "--max-tokens", "1"])
    assert "2 rows, " in shown
    assert "2 answers, 2 cut at --max-tokens" in shown
    assert "ROUGE-L, F1 %" in shown
    assert [json.loads(line)["row"] for line in (tmp_path / "answers.jsonl").read_text("utf-8").splitlines()] == [1, 2]


def run_evaluate(arguments: list[str]) -> str:
    """`glmdata evaluate` in this process; what it prints."""
    found = CliRunner().invoke(evaluate_command, arguments, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_an_evaluation_tells_what_the_rows_are_for(world: Path) -> None:
    cloze = [str(world / "base"), "--shards", str(world / "several")]
    found = json.loads(run_evaluate([*cloze, "--json"]))
    assert (found["questions"], sum(label["questions"] for label in found["labels"].values())) == (240, 240)
    assert sum(label["right"] for label in found["labels"].values()) == pytest.approx(240 * found["accuracy"])
    shown = run_evaluate([*cloze, "--holdout", "60"])
    assert "60 questions" in shown
    assert "accuracy" in shown
    with pytest.raises(ConfigError, match="is for cloze; answers are generated to rows of recipe sft and seq2seq"):
        run_evaluate([*cloze, "--generate"])
    lonely = CliRunner().invoke(evaluate_command, [*cloze, "--beams", "3"])
    assert (lonely.exit_code, "give that too" in lonely.output) == (2, True)


def test_an_evaluation_weighs_choices_as_the_run_did(world: Path, tmp_path: Path) -> None:
    last = finetune(options(world, "several", tmp_path, holdout=60, cloze={"length_penalty": 2.0}))
    command = [str(tmp_path), "--shards", str(world / "several"), "--holdout", "60", "--json"]
    found = json.loads(run_evaluate(command))
    assert found["loss"] == pytest.approx(last["evaluation"]["loss"], rel=1e-5)
    [checkpoint] = (path for path in tmp_path.glob("checkpoints/step-*6/state.json"))
    state = json.loads(checkpoint.read_text("utf-8"))
    state["settings"]["cloze"]["length_penalty"] = 0.0
    checkpoint.write_text(json.dumps(state), "utf-8")
    assert json.loads(run_evaluate(command))["loss"] != pytest.approx(found["loss"], rel=1e-3)
    state["settings"]["cloze"]["length_penalty"] = "long"
    checkpoint.write_text(json.dumps(state), "utf-8")
    with pytest.raises(ConfigError, match="has no settings of a run"):
        run_evaluate(command)
