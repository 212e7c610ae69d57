"""Training runs: the same losses whether interrupted, accumulated or shared among processes."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import GLMDATA, build_small, glmdata
from training_runs import run_alone, run_together, told

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")

from glmdata.cli.runs import RunArguments  # noqa: E402
from glmdata.cli.train import command as train_command  # noqa: E402
from glmdata.errors import ConfigError, ShardError, TrainingError  # noqa: E402
from glmdata.pipelines.train import _with_whole_paths, train_on_ray  # noqa: E402
from glmdata.training.checkpoint import checkpoints, load_part  # noqa: E402
from glmdata.training.metrics import draw_curve, read_metrics  # noqa: E402
from glmdata.training.run import TrainOptions, train  # noqa: E402
from glmdata.training.settings import TrainSettings  # noqa: E402

MODEL = {"num_layers": 2, "hidden_size": 32, "num_heads": 2}


@pytest.fixture(scope="module")
def shards(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_small(corpus, tmp_path_factory.mktemp("train") / "out"))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def options(shards: str, out: Path, *, model: dict | None = None, holdout: int = 0, **settings: object) -> TrainOptions:
    given = {"steps": 8, "batch_size": 4, "save_every": 3, "learning_rate": 1e-3} | settings
    return TrainOptions(
        shards=shards, out=out, model=MODEL | (model or {}), settings=TrainSettings(**given), holdout=holdout
    )


def test_a_model_learns_and_says_what(shards: str, tmp_path: Path) -> None:
    seen = []
    last = train(options(shards, tmp_path, holdout=8, steps=60, save_every=100, evaluate_every=30), seen.append)
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert seen == lines
    assert lines[-1] == last
    first, final = (sum(line["loss"] for line in part) / 5 for part in (lines[:5], lines[-5:]))
    assert final < first - 1
    assert lines[29]["evaluation"]["loss"] > last["evaluation"]["loss"]
    assert set(last["evaluation"]["objectives"]) <= {"token", "sentence", "document"}
    assert set(last["evaluation"]["languages"]) == {"zh", "en"}
    assert last["learning_rate"] == pytest.approx(1e-4)
    curve = draw_curve(tmp_path)
    assert curve is not None
    assert curve.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("killed_at", [1, 3, 5])
def test_a_killed_run_goes_on_with_the_same_losses_to_the_last_bit(
    shards: str, tmp_path: Path, killed_at: int, dropout: float
) -> None:
    class Killed(Exception):
        pass

    def kill(line):
        if line["step"] == killed_at:
            raise Killed

    model = {"dropout": dropout}
    train(options(shards, tmp_path / "quiet", model=model))
    with pytest.raises(Killed):
        train(options(shards, tmp_path / "killed", model=model), kill)
    train(options(shards, tmp_path / "killed", model=model))

    assert told(tmp_path / "killed") == told(tmp_path / "quiet")
    weights = [load_part(checkpoints(tmp_path / run)[-1][1], "model") for run in ("quiet", "killed")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_process_killed_in_the_middle_goes_on(shards: str, tmp_path: Path) -> None:
    """SIGKILL at whatever moment, with a torn line and a torn checkpoint beside."""
    flags = [f"--model={name}={value}" for name, value in MODEL.items()]
    flags += ["--steps", "40", "--set", "save_every=4", "--set", "batch_size=4"]
    command = [*GLMDATA, "train", "--shards", shards, *flags, "--out"]
    running = subprocess.Popen([*command, str(tmp_path / "killed")], stderr=subprocess.PIPE)
    assert running.stderr is not None
    running.stderr.readline()
    while len(read_metrics(tmp_path / "killed")) < 6:
        assert running.poll() is None
    running.kill()
    running.wait()
    running.stderr.close()
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    (tmp_path / "killed" / "checkpoints" / ".step-00000036.new").mkdir()
    for run in ("killed", "quiet"):
        subprocess.run([*command, str(tmp_path / run)], check=True, capture_output=True)
    assert told(tmp_path / "killed") == told(tmp_path / "quiet")
    assert len(told(tmp_path / "quiet")) == 40
    assert [step for step, _ in checkpoints(tmp_path / "killed")] == [36, 40]


def test_accumulated_micro_batches_are_one_batch(shards: str, tmp_path: Path) -> None:
    """Every target token weighs the same, however few its micro-batch has."""
    for name, batch, accumulation in (("one", 8, 1), ("two", 4, 2), ("eight", 1, 8)):
        given = {"batch_size": batch, "accumulation": accumulation, "epsilon": 1e-4}
        train(options(shards, tmp_path / name, model={"dropout": 0.0}, **given))
    one, two, eight = (told(tmp_path / name) for name in ("one", "two", "eight"))
    for a, b, c in zip(one, two, eight, strict=True):
        assert a["target_tokens"] == b["target_tokens"] == c["target_tokens"]
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["loss"] == pytest.approx(c["loss"], abs=1e-5)
        assert a["gradient_norm"] == pytest.approx(c["gradient_norm"], rel=1e-3)


def test_a_run_goes_on_where_a_step_s_rows_are_shared_otherwise(shards: str, tmp_path: Path) -> None:
    """As another number of workers may want it; steps of other rows are refused."""
    given = {"model": {"dropout": 0.0}, "epsilon": 1e-4, "steps": 6}

    def kill(line: dict) -> None:
        if line["step"] == 4:
            raise KeyboardInterrupt

    train(options(shards, tmp_path / "whole", batch_size=4, **given))
    with pytest.raises(KeyboardInterrupt):
        train(options(shards, tmp_path / "other", batch_size=4, **given), kill)
    with pytest.raises(ConfigError, match="begun with batch_size=4, now it is 2"):
        train(options(shards, tmp_path / "other", batch_size=2, **given))
    train(options(shards, tmp_path / "other", batch_size=2, accumulation=2, **given))
    losses = [[line["loss"] for line in told(tmp_path / run)] for run in ("whole", "other")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[0][:3] == losses[1][:3]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_have_the_losses_of_one(shards: str, tmp_path: Path, parallel: str) -> None:
    flags = ["--model=dropout=0.0", *[f"--model={name}={value}" for name, value in MODEL.items()]]
    flags += ["--steps", "6", "--set", "epsilon=1e-4", "--set", "save_every=3", "--holdout", "9"]
    flags += ["--set", "accumulation=2"]
    command = ["train", "--shards", shards, *flags, "--out"]
    run_alone(command, tmp_path / "one", "batch_size=4")
    run_together(command, tmp_path / "two", "batch_size=2", parallel)
    alone, both = told(tmp_path / "one"), told(tmp_path / "two")
    assert len(alone) == len(both) == 6
    for a, b in zip(alone, both, strict=True):
        assert a["target_tokens"] == b["target_tokens"]
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-5)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-4)
    assert alone[-1]["evaluation"]["loss"] == pytest.approx(both[-1]["evaluation"]["loss"], abs=1e-5)
    assert alone[-1]["evaluation"]["target_tokens"] == both[-1]["evaluation"]["target_tokens"]
    # What two processes wrote, they go on from.
    newest = checkpoints(tmp_path / "two")[-1][1]
    newest.rename(tmp_path / "aside")
    run_together(command, tmp_path / "two", "batch_size=2", parallel)
    again = load_part(newest, "model")
    assert all(torch.equal(again[name], tensor) for name, tensor in load_part(tmp_path / "aside", "model").items())


def test_two_ray_workers_have_the_losses_of_one_process(shards: str, tmp_path: Path) -> None:
    given = {"model": {"dropout": 0.0}, "epsilon": 1e-4, "steps": 4}
    train(options(shards, tmp_path / "one", batch_size=4, **given))
    lines: list[dict] = []
    two = options(shards, tmp_path / "two", batch_size=2, **given)
    last = train_on_ray(train, two, 2, "local", report=lines.append)
    alone, both = told(tmp_path / "one"), told(tmp_path / "two")
    assert [line["loss"] for line in alone] == pytest.approx([line["loss"] for line in both], abs=1e-5)
    assert lines == read_metrics(tmp_path / "two")
    assert lines[-1] == last


def test_workers_elsewhere_get_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = TrainOptions(shards="shards", out=Path("run"), settings=TrainSettings(), evaluation="s3://bucket/held")
    found = _with_whole_paths(given)
    assert (found.shards, found.out) == (str(tmp_path / "shards"), tmp_path / "run")
    assert (found.evaluation, found.settings) == ("s3://bucket/held", given.settings)
    kept = [name.as_uri() for name in (tmp_path / "a", tmp_path / "b")]
    assert _with_whole_paths(dataclasses.replace(given, shards=kept[0], evaluation=kept[1])).shards == kept[0]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(shards: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step \d+: loss .*(nan|inf).*the checkpoint of step 1 is kept"):
        train(options(shards, tmp_path, learning_rate=1e18, save_every=1, steps=40))
    kept = checkpoints(tmp_path)
    assert [step for step, _ in kept] == [1]
    assert all(tensor.isfinite().all() for tensor in load_part(kept[0][1], "model").values())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_well(shards: str, tmp_path: Path, precision: str) -> None:
    train(options(shards, tmp_path / "half", precision=precision, activation_checkpointing=True, steps=30))
    train(options(shards, tmp_path / "full", steps=30))
    half, full = (sum(line["loss"] for line in told(tmp_path / run)[-5:]) / 5 for run in ("half", "full"))
    assert half == pytest.approx(full, abs=0.1)


def test_steps_that_fp16_leaves_out_are_resumed_from(shards: str, tmp_path: Path) -> None:
    """Gradients overflow at a loss scale of 65,536 at first; nothing was updated, and the file is JSON."""
    given = {"precision": "fp16", "save_every": 1, "steps": 6, "model": {"init_std": 0.9}}

    def kill(line: dict) -> None:
        raise KeyboardInterrupt

    whole = train(options(shards, tmp_path / "whole", **given))
    norms = [line["gradient_norm"] for line in read_metrics(tmp_path / "whole")]
    assert norms[0] is None
    assert whole["gradient_norm"] is not None
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(options(shards, tmp_path / "killed", **given), kill)
    train(options(shards, tmp_path / "killed", **given))
    assert told(tmp_path / "killed") == told(tmp_path / "whole")


def test_remembered_and_recomputed_activations_give_the_same(shards: str, tmp_path: Path) -> None:
    for name, given in (("kept", False), ("again", True)):
        train(options(shards, tmp_path / name, activation_checkpointing=given, steps=3))
    assert told(tmp_path / "kept") == told(tmp_path / "again")


def test_what_does_not_fit_is_refused_in_a_line(shards: str, tmp_path: Path) -> None:
    train(options(shards, tmp_path / "run", steps=3))
    with pytest.raises(ConfigError, match=r"begun with learning_rate=0\.001, now it is 0\.5"):
        train(options(shards, tmp_path / "run", steps=3, learning_rate=0.5))
    with pytest.raises(ConfigError, match="leave none of"):
        train(options(shards, tmp_path / "held", holdout=10**6))
    with pytest.raises(ConfigError, match="max_positions"):
        train(options(shards, tmp_path / "short", model={"max_positions": 16}))
    with pytest.raises(ShardError, match="holds no finished build"):
        train(options(str(tmp_path), tmp_path / "none"))
    other = tmp_path / "run" / "checkpoints" / "step-00000003"
    (other / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ConfigError, match="cannot be read"):
        train(options(shards, tmp_path / "run", steps=3))


def test_a_model_of_another_size_does_not_go_on(shards: str, tmp_path: Path) -> None:
    train(options(shards, tmp_path, steps=3))
    with pytest.raises(ConfigError, match="hidden_size"):
        train(options(shards, tmp_path, steps=3, model={"hidden_size": 64}))


def test_the_command_says_what_it_does_and_lists_its_settings(shards: str, tmp_path: Path) -> None:
    flags = [f"--model={name}={value}" for name, value in MODEL.items()]
    done = glmdata("train", "--shards", shards, "--out", tmp_path / "run", "--steps", 3, "--json", *flags)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 3
    assert "step 3/3" in done.stderr
    again = glmdata("train", "--shards", shards, "--out", tmp_path / "run", "--steps", 3, "--json", *flags)
    assert (again.returncode, json.loads(again.stdout)) == (0, json.loads(done.stdout))
    assert "already" in again.stderr
    listed = glmdata("train", "--shards", shards, "--out", tmp_path, "--list", "--set", "batch_size=3")
    assert "batch_size: 3" in listed.stdout
    wrong = glmdata("train", "--shards", shards, "--out", tmp_path, "--set", "batchsize=3")
    assert wrong.returncode == 2
    assert "did you mean batch_size?" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("more", [["--workers", "2"], ["--gpus", "1"]])
def test_ray_is_not_started_against_the_address(shards: str, tmp_path: Path, more: list[str]) -> None:
    given = ["--shards", shards, "--out", str(tmp_path), "--address", "none", *more]
    with pytest.raises(ConfigError, match="--address none is this process alone"):
        CliRunner().invoke(train_command, given, catch_exceptions=False)


@pytest.mark.parametrize(
    ("given", "on_ray"),
    [
        ({}, False),
        ({"address": "none"}, False),
        ({"workers": 2}, True),
        ({"gpus": 1.0}, True),
        ({"address": "head:6379"}, True),
    ],
)
def test_one_worker_with_gpus_or_an_address_is_an_actor_too(given: dict, on_ray: bool) -> None:
    names = {"shards", "out", "steps", "overrides", "holdout", "evaluation", "listing", "as_json"}
    plain = dict.fromkeys(names) | {"workers": 1, "gpus": 0.0, "address": "auto"}
    assert RunArguments(**plain | given).on_ray == on_ray


def test_event_files_say_what_metrics_say_after_a_kill_too(shards: str, tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard")

    class Killed(Exception):
        pass

    def kill(line):
        if line["step"] == 5:
            raise Killed

    with pytest.raises(Killed):
        train(options(shards, tmp_path, holdout=8, evaluate_every=2), kill)
    train(options(shards, tmp_path, holdout=8, evaluate_every=2))
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    found = reading.EventAccumulator(str(tmp_path), purge_orphaned_data=False).Reload()
    lines = read_metrics(tmp_path)
    for tag, of in (
        ("loss", lambda line: line["loss"]),
        ("learning_rate", lambda line: line["learning_rate"]),
        ("languages/zh", lambda line: line["languages"].get("zh")),
        ("evaluation/objectives/token", lambda line: line.get("evaluation", {}).get("objectives", {}).get("token")),
    ):
        expected = [(line["step"], of(line)) for line in lines if of(line) is not None]
        assert expected
        events = found.Scalars(tag)
        assert [event.step for event in events] == [step for step, _ in expected]
        assert [event.value for event in events] == pytest.approx([value for _, value in expected])


def test_event_files_are_not_written_where_they_are_not_wanted(shards: str, tmp_path: Path) -> None:
    train(options(shards, tmp_path, steps=1, tensorboard=False))
    assert not list(tmp_path.glob("events.*"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPU")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's, of its own parts
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # its compiler looks
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_compiled_model_learns_what_an_eager_one_does(shards: str, tmp_path: Path, accumulation: int) -> None:
    """By TorchInductor, in the compiler's own cache; with dropout its random numbers would be others."""
    for name, compiled in (("eager", False), ("compiled", True)):
        train(
            options(
                shards,
                tmp_path / name,
                model={"dropout": 0.0},
                holdout=8,
                compile=compiled,
                epsilon=1e-4,
                accumulation=accumulation,
            )
        )
    for eager, compiled in zip(told(tmp_path / "eager"), told(tmp_path / "compiled"), strict=True):
        assert compiled["target_tokens"] == eager["target_tokens"]
        assert compiled["loss"] == pytest.approx(eager["loss"], abs=1e-4)
        assert compiled["gradient_norm"] == pytest.approx(eager["gradient_norm"], rel=1e-3)
    assert compiled["evaluation"]["loss"] == pytest.approx(eager["evaluation"]["loss"], abs=1e-4)
    weights = [load_part(checkpoints(tmp_path / run)[-1][1], "model") for run in ("eager", "compiled")]
    assert weights[0].keys() == weights[1].keys()
