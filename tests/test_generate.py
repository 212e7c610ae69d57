"""`glmdata generate` as its users run it."""

import json
import subprocess
import sys

import pytest
from commands import glmdata
from corpora import document
from models import small_model, torch

from glmdata.model import GLM, GLMConfig
from glmdata.model.checkpoint import save_pretrained
from glmdata.model.decoding import Decoding
from glmdata.model.loss import batch_loss
from glmdata.model.prompts import encode_prompt
from glmdata.model.text import stream_chat, stream_text
from glmdata.recipe import TokenizerSettings
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.training import train_tokenizer

SPAN = "河水慢慢"
TEXT = "春天的[MASK]变暖，孩子们[MASK]。"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [document(language, index) for index in range(20) for language in ("zh", "en")]
    return Tokenizer(train_tokenizer(texts, TokenizerSettings(vocabulary_size=500)))


@pytest.fixture(scope="module")
def checkpoint(tokenizer, tmp_path_factory):
    """A model that has learnt by heart what stands in the blanks of one text."""
    from glmdata.infilling.layout import lay_out

    special = tokenizer.special
    prompt = encode_prompt(tokenizer, TEXT).ids
    answers = [tokenizer.encode_inside(text).tolist() for text in (SPAN, "在院子里数星星")]
    tokens, spans = [], []
    for token in prompt:
        if token == special.mask:
            answer = answers[len(spans)]
            spans.append((len(tokens), len(tokens) + len(answer)))
            tokens += answer
        else:
            tokens.append(token)
    row = lay_out(tokens, spans, [0, 1], mask_id=special.mask, sop_id=special.sop, eop_id=special.eop)
    both = torch.tensor([row.position_ids.tolist(), row.block_position_ids.tolist()])
    batch = {
        "input_ids": torch.from_numpy(row.input_ids.astype("int64"))[None],
        "target_ids": torch.from_numpy(row.target_ids.astype("int64"))[None],
        "loss_mask": torch.from_numpy(row.loss_mask.astype("float32"))[None],
        "position_ids": both[None],
        "context_length": torch.tensor([row.context_length]),
    }
    torch.manual_seed(0)
    model = GLM(
        GLMConfig(num_layers=2, hidden_size=32, num_heads=2, vocabulary_size=640, max_positions=64, dropout=0.0)
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = batch_loss(model, batch)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    save_pretrained(model, folder, tokenizer)
    return folder


FILLED = "春天的河水慢慢变暖，孩子们在院子里数星星。"


@pytest.mark.parametrize("options", [(), ("--beams", 3), ("--temperature", 0.3, "--top-p", 0.5), ("--quantize", 8)])
def test_what_was_learnt_is_filled_in(checkpoint, options):
    done = glmdata("generate", checkpoint, "--prompt", TEXT, *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, FILLED + "\n", "")


def test_json_tells_text_blanks_and_ends(checkpoint):
    done = glmdata("generate", checkpoint, "--prompt", TEXT, "--prompt", "[gMASK]", "--max-tokens", 20, "--json")
    found = json.loads(done.stdout)
    first, second = found["prompts"]
    assert (first["prompt"], first["text"]) == (TEXT, FILLED)
    assert [blank["text"] for blank in first["blanks"]] == [SPAN, "在院子里数星星"]
    assert [blank["end"] for blank in first["blanks"]] == ["eop", "eop"]
    assert len(second["blanks"]) == 1
    assert second["blanks"][0]["tokens"] <= 20
    assert found["seconds"] > 0


def test_a_prompt_comes_from_stdin(checkpoint):
    done = glmdata("generate", checkpoint, "--prompt", "-", stdin=TEXT + "\n")
    assert (done.returncode, done.stdout) == (0, FILLED + "\n")


def test_a_chat_goes_in_rounds_until_stdin_ends(checkpoint):
    command = ("generate", checkpoint, "--chat", "--max-tokens", 8)
    lines = "你好\n几点\n\n你好\n"
    done = glmdata(*command, "--json", stdin=lines)
    rounds = json.loads(done.stdout)["rounds"]
    assert [(one["query"], one["round"]) for one in rounds] == [("你好", 0), ("几点", 1), ("你好", 0)]
    assert rounds[0]["answer"] == rounds[2]["answer"]
    plain = glmdata(*command, stdin=lines)
    assert plain.stdout == "".join(one["answer"] + "\n" for one in rounds)


def test_text_comes_piece_by_piece_as_it_is_chosen(checkpoint, tokenizer):
    from glmdata.model.checkpoint import load_pretrained

    model = load_pretrained(checkpoint).model
    fragments = list(stream_text(model, tokenizer, TEXT, Decoding()))
    assert "".join(one.text for one in fragments) == FILLED
    assert [one.text for one in fragments if one.blank is None] == ["春天的", "变暖，孩子们", "。"]
    assert sum(one.tokens for one in fragments) == sum(
        len(tokenizer.encode([text])[0]) for text in (SPAN, "在院子里数星星")
    )
    alone = list(stream_chat(model, tokenizer, [], "你好", Decoding(max_tokens=5)))
    long = [("问" * 10, "答" * 10)] * 20
    assert list(stream_chat(model, tokenizer, long, "你好", Decoding(max_tokens=5)))[-1].end is not None
    assert all(one.blank == 0 for one in alone)


@pytest.mark.parametrize("missing", ["torch", "safetensors"])
def test_what_is_not_installed_is_named(checkpoint, missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from glmdata.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "generate", str(checkpoint), "--prompt", "[MASK]"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f'glmdata: {missing} is not installed: pip install "glmdata[train]"\n'


def test_wrong_usage_is_told_in_one_line(checkpoint, tmp_path):
    small = tmp_path / "small"
    save_pretrained(small_model(), small)
    cases = [
        ((checkpoint,), 2, "give --prompt TEXT or --chat"),
        ((checkpoint, "--prompt", "no mask"), 1, "put [MASK], [sMASK] or [gMASK] in it"),
        ((checkpoint, "--prompt", "[MASK]", "--device", "tpu9"), 2, "device tpu9: there is none of that name here"),
        ((small, "--prompt", "[MASK]"), 1, "no tokenizer.model; give the model's with --tokenizer"),
        ((small, "--prompt", "[MASK]", "--tokenizer", checkpoint / "tokenizer.model"), 2, "ids, the model 100"),
    ]
    for arguments, code, message in cases:
        done = glmdata("generate", *arguments)
        assert done.returncode == code, done.stderr
        assert message in done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
