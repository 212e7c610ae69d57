"""The command line as its users meet it: real processes, exit codes, what they print."""

import json
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import GLMDATA, SMALL, build_small, glmdata


@pytest.fixture(scope="module")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_small(corpus, tmp_path_factory.mktemp("built") / "out")


def test_help_names_every_command() -> None:
    done = glmdata("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("build", "inspect", "recipe", "why"))


@pytest.mark.parametrize("command", ["build", "generate", "inspect", "recipe", "why"])
def test_every_command_has_help(command: str) -> None:
    done = glmdata(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage:")


def test_a_build_tells_what_it_did_and_how_to_look(corpus: Path, tmp_path: Path) -> None:
    done = glmdata("build", "--corpus", corpus, "--out", tmp_path / "out", *SMALL)
    assert done.returncode == 0
    assert "189 records: " in done.stdout
    assert f"glmdata inspect {tmp_path / 'out'}" in done.stdout
    assert "in process" in done.stderr
    assert "tokenize" in done.stderr


def test_json_is_one_object_and_nothing_else(corpus: Path, built: Path) -> None:
    done = glmdata("build", "--corpus", corpus, "--out", built, *SMALL, "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["already_there"] is True
    assert found["records_in"] == 189 == sum(found["outcomes"].values())


def test_inspect_shows_a_screen(built: Path) -> None:
    done = glmdata("inspect", built)
    assert done.returncode == 0
    for word in ("fingerprint", "records", "samples", "text tokens", "shards"):
        assert word in done.stdout
    assert json.loads(glmdata("inspect", built, "--json").stdout)["counts"]["records_in"] == 189


def test_inspect_shows_a_sample_with_its_source_and_positions(built: Path) -> None:
    done = glmdata("inspect", built, "--sample", 0)
    assert done.returncode == 0
    for word in ("sample 0", "context_length", "from en/", "Part A", "Part B", "row 0", "row 1", "[sop]"):
        assert word in done.stdout


def test_the_sample_in_json_is_whole(built: Path) -> None:
    found = json.loads(glmdata("inspect", built, "--sample", 3, "--json").stdout)
    assert len(found["input_ids"]) == len(found["position_ids"]) == found["length"]
    assert sum(found["loss_mask"]) == sum(span["end"] - span["start"] + 1 for span in found["spans"])
    assert all(span["text"] in found["text"] for span in found["spans"])
    assert sorted(found["part_b_order"]) == list(range(len(found["spans"])))
    assert all(document["record"] >= 0 for document in found["documents"])


def test_a_pipe_gets_no_colour_codes(built: Path) -> None:
    assert "\x1b[" not in glmdata("inspect", built, "--sample", 0).stdout
    assert "\x1b[" in glmdata("inspect", built, "--sample", 0, FORCE_COLOR="1").stdout
    assert "\x1b[3" not in glmdata("inspect", built, "--sample", 0, FORCE_COLOR="1", NO_COLOR="1").stdout


def test_a_closed_pipe_is_no_error_message(built: Path) -> None:
    command = f"{' '.join(GLMDATA)} inspect {built} --sample 0 --all --json | head -c 10"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


def test_verify_is_silent_on_a_whole_build_and_names_the_place_of_damage(built: Path, tmp_path: Path) -> None:
    assert glmdata("inspect", built, "--verify").returncode == 0
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    victim = next((copy / "shards").glob("*.arrow"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    done = glmdata("inspect", copy, "--verify")
    assert done.returncode == 1
    assert victim.name in done.stdout
    found = json.loads(glmdata("inspect", copy, "--verify", "--json").stdout)
    assert found["ok"] is False
    assert any(victim.name in problem["path"] for problem in found["problems"])


def test_at_shows_the_batch_that_a_stream_gives(built: Path) -> None:
    pytest.importorskip("torch")
    from glmdata.streaming import ShardStream

    stream = ShardStream(built, 5, seed=3, dp_rank=1, dp_world=2)
    batches = [batch for batch, _ in zip(stream, range(4), strict=False)]
    done = glmdata("inspect", built, "--at", 3, "--rank", 1, "--world", 2, "--batch-size", 5, "--seed", 3, "--json")
    found = json.loads(done.stdout)
    assert [sample["sample_id"] for sample in found["samples"]] == batches[3]["sample_id"].tolist()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("bulid",), 2, "did you mean build"),
        (("build", "--corpus", "nowhere", "--out", "{tmp}/o"), 1, "nowhere"),
        (("build", "--corpus", "{corpus}"), 2, "--out"),
        (("build", "--corpus", "{corpus}", "--out", "{tmp}/o", "--set", "seqence_length=9"), 2, "sequence_length"),
        (("build", "--corpus", "{corpus}", "--out", "{tmp}/o", "--set", "sequence_length"), 2, "key=value"),
        (("build", "--corpus", "{corpus}", "--out", "{tmp}/o", "--set", "sequence_length=long"), 2, "integer"),
        (("build", "--corpus", "{corpus}", "--out", "{tmp}/o", "--recipe", "glmm"), 2, "did you mean glm"),
        (("build", "--corpus", "{corpus}", "--out", "{tmp}/o", "--tokenizer", "no.model"), 1, "no.model"),
        (("build", "--corpus", "{corpus}", "--out", "{tmp}/o", "--address", "bogus://x"), 2, "ray://HOST:PORT"),
        (
            ("build", "--corpus", "{corpus}", "--out", "{tmp}/o", "--address", "127.0.0.1:9"),
            1,
            "no Ray cluster answers",
        ),
        (("build", "--corpus", "{corpus}", "--out", "{tmp}/o", "--workers", "0"), 2, "--workers"),
        (("build", "--corpus", "{corpus}", "--out", "{corpus}/bad.jsonl/o"), 1, "is a file, not a folder"),
        (("inspect", "{corpus}"), 1, "no finished build"),
        (("inspect", "{built}", "--sample", "99999"), 2, "has "),
        (("inspect", "{built}", "--at", "1", "--rank", "2", "--world", "2"), 2, "ranks of --world 2 are 0 to 1"),
        (("inspect", "{built}", "--rank", "1"), 2, "go with --at"),
        (("inspect", "{built}", "--all"), 2, "--all goes with --sample"),
        (("recipe", "glmm"), 2, "did you mean glm"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_one_clear_line(
    corpus: Path, built: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    places = {"corpus": str(corpus), "built": str(built), "tmp": str(tmp_path)}
    done = glmdata(*(argument.format(**places) for argument in arguments))
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 4
    assert not (tmp_path / "o").exists()


def test_e1_a_recipe_file_is_data_and_nothing_else(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    hostile = {
        "code": f"seed: !!python/object/apply:os.system ['touch {marker}']",
        "list": "- 1",
        "broken": "a: [1",
        "laughs": "a: &a [x, x]\nb: *a",
        "twice": "seed: 1\nseed: 2",
    }
    for name, text in hostile.items():
        (tmp_path / f"{name}.yaml").write_text(text)
        done = glmdata("recipe", tmp_path / f"{name}.yaml")
        assert done.returncode == 2, name
        assert f"{name}.yaml" in done.stderr
        assert "Traceback" not in done.stderr
    assert not marker.exists()


def test_the_printed_recipe_is_a_recipe(tmp_path: Path) -> None:
    from glmdata.recipe import load_recipe

    (tmp_path / "mine.yaml").write_text(glmdata("recipe", "--set", "balance.strategy=off").stdout)
    assert load_recipe(str(tmp_path / "mine.yaml")) == load_recipe("glm", ["balance.strategy=off"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_stopped_build_says_how_to_go_on_and_does(
    corpus: Path, built: Path, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "out"
    command = [*GLMDATA, "build", "--corpus", str(corpus), "--out", str(out), *SMALL]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((out / ".build").glob("ingest/*.json")) and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == code, errors
    assert f"goes on where this one stopped:\n  glmdata {shlex.join(command[3:])}" in errors
    assert "Traceback" not in errors
    assert glmdata(*command[3:]).returncode == 0
    assert (out / "manifest.json").read_bytes() == (built / "manifest.json").read_bytes()


def test_a_tokenizer_is_trained_and_measured_on_a_corpus(corpus: Path, tmp_path: Path) -> None:
    model = tmp_path / "x.model"
    done = glmdata(
        "tokenizer", "train", "--corpus", corpus, "--out", model, "--vocabulary-size", 800, "--address", "none"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "x.model.json").read_text())["pieces"] <= 800
    shown = glmdata("tokenizer", "info", model, "--corpus", corpus)
    assert shown.returncode == 0, shown.stderr
    assert "bytes/token" in shown.stdout
    plain = json.loads(glmdata("tokenizer", "info", model, "--json").stdout)
    measured = json.loads(glmdata("tokenizer", "info", model, "--corpus", corpus, "--json").stdout)
    languages = measured.pop("languages")
    assert measured == plain
    assert {"zh", "en"} <= set(languages)
    for usage in languages.values():
        assert usage["tokens"] == sum(usage["kinds"].values())
        assert usage["bytes_per_token"] == pytest.approx(usage["bytes"] / usage["tokens"], abs=1e-4)
    refused = glmdata("tokenizer", "info", model, "--corpus", tmp_path / "nowhere")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
