"""Finetuning runs: tasks are learnt, adapters alone are kept, interrupted runs go on as if nothing had been."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import glmdata
from models import torch
from training_runs import TIMINGS, run_alone, run_together, told
from tuning import make, options, reviews, small

from glmdata.errors import ConfigError, InputError
from glmdata.model.adapters import is_adapter
from glmdata.model.checkpoint import load_pretrained, save_pretrained
from glmdata.model.loss import model_inputs
from glmdata.model.quantize import quantize_model, quantized_bits
from glmdata.recipe import TokenizerSettings
from glmdata.streaming import ShardStream
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.training import train_tokenizer
from glmdata.training.checkpoint import checkpoints, load_part
from glmdata.training.evaluation import evaluate_task, evaluation_rows
from glmdata.training.finetune import finetune, steps_of
from glmdata.training.finetune_settings import FinetuneSettings
from glmdata.training.metrics import read_metrics


@pytest.mark.parametrize("shards", ["single", "several"])
def test_a_cloze_task_is_learnt(world: Path, tmp_path: Path, shards: str) -> None:
    given = {"steps": 0, "epochs": 8, "batch_size": 16, "learning_rate": 1e-2, "save_every": 1000}
    last = finetune(options(world, shards, tmp_path, holdout=60, **given))
    assert last["step"] == 90
    held = last["evaluation"]
    assert held["questions"] == 60
    assert held["accuracy"] > 0.9
    assert held["macro_f1"] > 0.9
    assert sum(label["questions"] for label in held["labels"].values()) == 60
    assert sum(label["right"] for label in held["labels"].values()) == pytest.approx(60 * held["accuracy"])
    assert {line["questions"] for line in read_metrics(tmp_path)} == {16}


@pytest.mark.parametrize("name", ["lora", "prefix"])
def test_an_adapter_learns_beside_a_frozen_model(world: Path, tmp_path: Path, name: str) -> None:
    """The frozen weights are large enough that another direction is another token."""
    tokenizer = Tokenizer.load(world / "t.model")
    save_pretrained(small(tokenizer, init_std=0.3, dropout=0.0), tmp_path / "base", tokenizer)
    given = {"steps": 60, "batch_size": 3, "learning_rate": 5e-2, "save_every": 1000, "lora": LARGE}
    finetune(options(world, "sft", tmp_path / "run", adapter=name, checkpoint=tmp_path / "base", **given))
    lines = read_metrics(tmp_path / "run")
    first, final = (sum(line["loss"] for line in part) / 5 for part in (lines[:5], lines[-5:]))
    assert final < first - 1


LARGE = {"rank": 8, "targets": ["qkv", "dense", "ffn"]}


@pytest.mark.parametrize("name", ["none", "lora", "prefix"])
def test_a_killed_run_goes_on_with_the_same_losses_to_the_last_bit(world: Path, tmp_path: Path, name: str) -> None:
    class Killed(Exception):
        pass

    def kill(line: dict[str, Any]) -> None:
        if line["step"] == 5:
            raise Killed

    given = {"adapter": name, "learning_rate": 1e-2, "lora": {**LARGE, "dropout": 0.2}}
    finetune(options(world, "several", tmp_path / "quiet", **given))
    with pytest.raises(Killed):
        finetune(options(world, "several", tmp_path / "killed", **given), kill)
    assert [step for step, _ in checkpoints(tmp_path / "killed")] == [2, 4]
    finetune(options(world, "several", tmp_path / "killed", **given))
    assert told(tmp_path / "killed") == told(tmp_path / "quiet")
    assert len(told(tmp_path / "quiet")) == 6
    part = "model" if name == "none" else "adapter"
    weights = [load_part(checkpoints(tmp_path / run)[-1][1], part) for run in ("quiet", "killed")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(("parallel", "name"), [("ddp", "lora"), ("fsdp", "prefix")])
def test_two_processes_have_the_losses_of_one(world: Path, tmp_path: Path, parallel: str, name: str) -> None:
    model = small(Tokenizer.load(world / "t.model"), dropout=0.0)
    save_pretrained(model, tmp_path / "base", Tokenizer.load(world / "t.model"))
    flags = ["--checkpoint", tmp_path / "base", "--adapter", name, "--steps", 4, "--holdout", 9]
    settings = ["lora.dropout=0", "prefix.dropout=0", "prefix.length=4", "epsilon=1e-4"]
    flags += [f"--set={setting}" for setting in settings]
    command = ["finetune", "--shards", str(world / "several"), *map(str, flags), "--out"]
    run_alone(command, tmp_path / "one", "batch_size=4")
    run_together(command, tmp_path / "two", "batch_size=2", parallel)
    for a, b in zip(told(tmp_path / "one"), told(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-3)
    held = [told(tmp_path / run)[-1]["evaluation"] for run in ("one", "two")]
    assert held[0]["questions"] == held[1]["questions"] == 9
    assert held[0]["loss"] == pytest.approx(held[1]["loss"], abs=1e-5)
    files = [load_part(checkpoints(tmp_path / run)[-1][1], "adapter") for run in ("one", "two")]
    assert {key: tensor.shape for key, tensor in files[0].items()} == {key: t.shape for key, t in files[1].items()}


def test_two_ray_workers_have_the_losses_of_one_process(world: Path, tmp_path: Path) -> None:
    """By the command; an epoch of each has as many steps, since its batches are shared. Errors come back in a line."""
    tokenizer = Tokenizer.load(world / "t.model")
    save_pretrained(small(tokenizer, dropout=0.0), tmp_path / "base", tokenizer)
    given = {"steps": 0, "epochs": 1, "batch_size": 30, "adapter": "lora", "lora": {"dropout": 0.0}, "epsilon": 1e-4}
    finetune(options(world, "several", tmp_path / "one", checkpoint=tmp_path / "base", holdout=60, **given))
    command = ["finetune", "--checkpoint", tmp_path / "base", "--adapter", "lora", "--epochs", 1, "--holdout", 60]
    command += ["--set", "lora.dropout=0", "--set", "epsilon=1e-4", "--shards", world / "several", "--json"]
    command += ["--out", tmp_path / "two", "--set", "batch_size=15", "--workers", 2, "--address", "local"]
    both = glmdata(*command)
    assert both.returncode == 0, both.stderr
    assert "step 6/6   loss " in both.stderr
    lines = [told(tmp_path / run) for run in ("one", "two")]
    assert len(lines[0]) == len(lines[1]) == 6
    assert json.loads(both.stdout) == read_metrics(tmp_path / "two")[-1]
    for a, b in zip(*lines, strict=True):
        assert (a["questions"], a["target_tokens"]) == (b["questions"], b["target_tokens"])
        assert (a["loss"], a["accuracy"]) == pytest.approx((b["loss"], b["accuracy"]), abs=1e-5)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-3)
    held = [line[-1]["evaluation"] for line in lines]
    assert held[0]["questions"] == held[1]["questions"] == 60
    assert held[0]["loss"] == pytest.approx(held[1]["loss"], abs=1e-5)
    wrong = glmdata(*command, "--set", "cloze.length_penalty=1")
    assert wrong.returncode == 2
    assert "begun with cloze.length_penalty=0.0, now it is 1.0" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("name", ["lora", "prefix"])
def test_a_checkpoint_is_the_adapter_and_is_read_with_its_base(world: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(world / "base", tmp_path / "base")
    finetune(options(world, "sft", tmp_path / "run", adapter=name, learning_rate=0.1, checkpoint=tmp_path / "base"))
    folder = checkpoints(tmp_path / "run")[-1][1]
    assert not (folder / "model.safetensors").exists()
    assert all(map(is_adapter, load_part(folder, "adapter")))
    found, base = load_pretrained(folder).model, load_pretrained(tmp_path / "base").model
    ids = torch.arange(12)[None]
    both = [model(ids, torch.zeros(1, 2, 12, dtype=torch.int64)) for model in (found, base)]
    assert (both[0] - both[1]).abs().max() > 1e-3
    prompt = ("--prompt", "几点关门？[gMASK]", "--max-tokens", 5)
    before = glmdata("generate", tmp_path / "run", *prompt)
    assert before.returncode == 0, before.stderr

    whole = glmdata("export", tmp_path / "run", "--to", "model", "--out", tmp_path / "whole")
    assert (whole.returncode == 0) == (name == "lora"), whole.stderr
    if name == "lora":
        assert glmdata("generate", tmp_path / "whole", *prompt).stdout == before.stdout
    (tmp_path / "base").rename(tmp_path / "moved")
    gone = glmdata("generate", tmp_path / "run", *prompt)
    assert gone.returncode == 1
    assert "(--base)" in gone.stderr
    again = glmdata("generate", tmp_path / "run", *prompt, "--base", tmp_path / "moved")
    assert again.stdout == before.stdout
    other = small(Tokenizer.load(world / "t.model"))
    with torch.no_grad():
        other.final_layernorm.bias += 1
    save_pretrained(other, tmp_path / "other", Tokenizer.load(world / "t.model"))
    with pytest.raises(ConfigError, match="is not its base"):
        load_pretrained(folder, base=tmp_path / "other")
    with pytest.raises(ConfigError, match="leave the base out"):
        load_pretrained(tmp_path / "moved", base=tmp_path / "other")


def test_lora_can_be_tuned_further_and_a_prefix_cannot(world: Path, tmp_path: Path) -> None:
    finetune(options(world, "sft", tmp_path / "lora", adapter="lora", steps=2))
    last = finetune(options(world, "sft", tmp_path / "more", adapter="prefix", steps=2, checkpoint=tmp_path / "lora"))
    assert last["step"] == 2
    assert load_pretrained(checkpoints(tmp_path / "more")[-1][1]).model.prefix is not None
    with pytest.raises(ConfigError, match="a model with a prefix is not tuned further"):
        finetune(options(world, "sft", tmp_path / "third", steps=2, checkpoint=tmp_path / "more"))


@pytest.mark.parametrize(("name", "bits"), [("lora", 4), ("prefix", 4), ("prefix", 8)])
def test_a_quantised_model_is_tuned_by_an_adapter(world: Path, tmp_path: Path, name: str, bits: int) -> None:
    """Killed and resumed, in bf16 too; read again with its base it has the loss that the run told."""
    tokenizer = Tokenizer.load(world / "t.model")
    save_pretrained(quantize_model(small(tokenizer, dropout=0.0, init_std=0.3), bits), tmp_path / "base", tokenizer)
    given = {"adapter": name, "learning_rate": 5e-2, "checkpoint": tmp_path / "base", "steps": 12, "batch_size": 8}
    last = finetune(options(world, "several", tmp_path / "run", holdout=20, **given))
    lines = read_metrics(tmp_path / "run")
    assert lines[-1]["loss"] < lines[0]["loss"] - 0.3
    folder = checkpoints(tmp_path / "run")[-1][1]
    assert all(map(is_adapter, load_part(folder, "adapter")))
    found = load_pretrained(folder)
    assert quantized_bits(found.model) == bits
    held = evaluate_task(found, evaluation_rows(found, world / "several", holdout=20))
    assert held.pop("labels") == last["evaluation"].pop("labels")
    assert held == pytest.approx(last["evaluation"], rel=1e-5)
    half = finetune(options(world, "several", tmp_path / "half", precision="bf16", **given))
    assert half["loss"] < lines[0]["loss"] - 0.3
    with pytest.raises(ConfigError, match="is not tuned further"):
        finetune(options(world, "sft", tmp_path / "more", steps=2, adapter=name, checkpoint=tmp_path / "run"))
    before = load_part(folder, "adapter")
    shutil.rmtree(folder)
    finetune(options(world, "several", tmp_path / "run", holdout=20, **given))
    assert told(tmp_path / "run") == [{key: line[key] for key in line if key not in TIMINGS} for line in lines]
    assert all(torch.equal(before[key], tensor) for key, tensor in load_part(folder, "adapter").items())


def test_labels_of_answers_are_smoothed_in_training_alone(world: Path, tmp_path: Path) -> None:
    given = {"steps": 3, "batch_size": 3, "learning_rate": 1e-9, "weight_decay": 0.0, "evaluation": str(world / "sft")}
    tokenizer = Tokenizer.load(world / "t.model")
    save_pretrained(small(tokenizer, dropout=0.0), tmp_path / "base", tokenizer)
    plain, smooth = (
        finetune(
            options(world, "sft", tmp_path / f"{share}", checkpoint=tmp_path / "base", label_smoothing=share, **given)
        )
        for share in (0.0, 0.1)
    )
    assert smooth["evaluation"]["loss"] == pytest.approx(plain["evaluation"]["loss"], rel=1e-5)
    model, batch = load_pretrained(tmp_path / "base").model, next(iter(ShardStream(world / "sft", 3, shuffle=False)))
    logs = model(**model_inputs(batch), loss_mask=batch["loss_mask"]).log_softmax(-1)
    right = logs.gather(1, batch["target_ids"][batch["loss_mask"] != 0][:, None])[:, 0]
    expected = -(0.9 * right + 0.1 * logs.mean(1)).mean()  # THUDM/GLM, tasks/seq2seq/finetune.py
    assert smooth["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    assert plain["loss"] == pytest.approx(-float(right.mean().detach()), rel=1e-5)
    with pytest.raises(ConfigError, match=r"label_smoothing=0\.1 is of the tokens of answers, .* is for cloze"):
        finetune(options(world, "single", tmp_path / "cloze", label_smoothing=0.1))


def test_half_precision_keeps_frozen_layers_in_it(world: Path, tmp_path: Path) -> None:
    given = {"steps": 30, "batch_size": 16, "learning_rate": 3e-2, "adapter": "lora", "lora": {"dropout": 0.0}}
    for precision in ("bf16", "fp32"):
        finetune(options(world, "single", tmp_path / precision, precision=precision, **given))
    half, full = (sum(line["loss"] for line in told(tmp_path / run)[-5:]) / 5 for run in ("bf16", "fp32"))
    assert half == pytest.approx(full, abs=0.1)
    assert all(
        tensor.dtype == torch.float32 for tensor in load_part(checkpoints(tmp_path / "bf16")[-1][1], "adapter").values()
    )


def test_epochs_are_steps(world: Path, tmp_path: Path) -> None:
    for given, workers, steps in (
        ({"epochs": 1, "batch_size": 16}, 1, 15),
        ({"epochs": 3, "batch_size": 7, "accumulation": 2}, 2, 26),
        ({"epochs": 1, "batch_size": 16, "steps": 4}, 1, 4),
    ):
        assert steps_of(options(world, "single", tmp_path, **{"steps": 0, **given}), workers) == steps
    assert FinetuneSettings(adapter="prefix").learning_rate == 2e-2
    assert FinetuneSettings(adapter="prefix", learning_rate=1e-3).learning_rate == 1e-3


def test_what_does_not_fit_is_refused_in_a_line(world: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(world / "t.model")
    texts = [record["text"] for record in reviews()]
    (world / "other.model").write_bytes(train_tokenizer(texts, TokenizerSettings(vocabulary_size=350)))
    if not (world / "foreign").exists():
        make(world, "foreign", "sft", "sft", [], "other.model")
    save_pretrained(small(tokenizer, max_positions=32), tmp_path / "short", tokenizer)
    save_pretrained(small(tokenizer), tmp_path / "bare")
    save_pretrained(quantize_model(small(tokenizer), 8), tmp_path / "int8", tokenizer)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"checkpoint": tmp_path / "none"}, InputError, r"no config\.json"),
        ({"checkpoint": tmp_path / "bare"}, InputError, r"no tokenizer\.model"),
        ({"checkpoint": tmp_path / "short"}, ConfigError, "max_positions of at least 64"),
        ({"checkpoint": tmp_path / "int8"}, ConfigError, "int8 weights cannot be trained; .*--adapter lora or prefix"),
        ({"shards": "foreign"}, ConfigError, r"build it with --tokenizer .*base/tokenizer\.model"),
        ({"shards": "sft", "evaluation": str(world / "single")}, ConfigError, "is for sft, .* is for cloze"),
    ]
    for given, kind, message in cases:
        with pytest.raises(kind, match=message):
            finetune(options(world, **{"shards": "sft", "out": tmp_path / "out", **given}))
    finetune(options(world, "sft", tmp_path / "run", adapter="lora", steps=2))
    with pytest.raises(ConfigError, match=r"begun with lora\.rank=8, now it is 4"):
        finetune(options(world, "sft", tmp_path / "run", adapter="lora", steps=2, lora={"rank": 4}))
    with pytest.raises(ConfigError, match=r"begun with cloze\.length_penalty=0\.0, now it is 1\.0"):
        finetune(options(world, "sft", tmp_path / "run", adapter="lora", steps=2, cloze={"length_penalty": 1.0}))


def test_the_command_says_what_it_does(world: Path, tmp_path: Path) -> None:
    command = ["finetune", "--shards", world / "single", "--checkpoint", world / "base", "--out", tmp_path / "run"]
    done = glmdata(*command, "--adapter", "lora", "--epochs", 1, "--set", "batch_size=60", "--holdout", 60, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 3
    assert "step 3/3   loss " in done.stderr
    assert "accuracy" in done.stderr
    listed = glmdata(*command, "--list", "--adapter", "prefix")
    assert "learning_rate: 0.02" in listed.stdout
    both = glmdata(*command, "--epochs", 1, "--steps", 2)
    assert (both.returncode, "not both" in both.stderr) == (2, True)
    odd = glmdata(*command, "--set", "adapter=[lora]", "--list")
    assert (odd.returncode, "the finetuning settings: adapter:" in odd.stderr) == (2, True), odd.stderr
