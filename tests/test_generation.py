"""Filling blanks: as full recomputation, in the positions of training, by every way of choosing."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import FAMILY, GOLDEN, IDS, SPECIAL, golden, small_model, torch

from glmdata.errors import ConfigError, InputError
from glmdata.infilling.layout import lay_out
from glmdata.model.attention import KeyValueCache
from glmdata.model.decoding import Decoding, repeats, sample_token, scores
from glmdata.model.generation import fill, fill_blanks
from glmdata.model.reading import Reader
from glmdata.model.rotary import one_row

PROMPT = [SPECIAL.cls, 5, 17, SPECIAL.mask, 42, 8, SPECIAL.smask, 61, 3, 3, SPECIAL.gmask]
DECODINGS = {
    "greedy": Decoding(max_tokens=9),
    "drawn": Decoding(max_tokens=9, temperature=0.9, top_p=0.8, top_k=20, seed=4),
    "beams": Decoding(max_tokens=9, num_beams=4, length_penalty=0.7, no_repeat_ngram=2),
}


@pytest.mark.parametrize("positions", FAMILY)
@pytest.mark.parametrize("name", DECODINGS)
def test_the_cache_chooses_what_full_recomputation_does(positions, name):
    model = small_model(positions)
    found = fill_blanks(model, PROMPT, SPECIAL, DECODINGS[name])
    assert found == fill_blanks(model, PROMPT, SPECIAL, DECODINGS[name], use_cache=False)
    assert len(found) == 3
    assert any(found)


@pytest.mark.parametrize("positions", FAMILY)
def test_logits_of_cached_calls_are_those_of_one_call(positions):
    """However the tokens come: one by one, or several at once."""
    model = small_model(positions).double()
    ids = torch.randint(0, 90, (2, 30), generator=torch.Generator().manual_seed(1))
    places = torch.stack([torch.arange(30), torch.arange(30).flip(0)]).expand(2, -1, -1)
    context = torch.tensor([12, 12])
    whole = model(ids, places, context)
    cache = KeyValueCache(model.config, 2, 30, device=ids.device, dtype=torch.float64)
    parts = []
    with torch.no_grad():
        for start, stop in itertools.pairwise([0, 14, 15, 16, 21, 22, 30]):
            first = context if start == 0 else None
            parts.append(model(ids[:, start:stop], places[:, :, start:stop], first, cache=cache))
    assert (torch.cat(parts, 1) - whole).abs().max() < 1e-12
    with pytest.raises(ValueError, match="room for 30 tokens, 31"):
        model(ids[:, :1], places[:, :, :1], cache=cache)


@pytest.mark.parametrize("positions", FAMILY)
def test_blanks_are_filled_in_the_layout_of_training(positions):
    """What was chosen, laid out as a row of training, is what the model finds likeliest in that row."""
    model = small_model(positions, seed=2)
    blanks = fill_blanks(model, PROMPT, SPECIAL, Decoding(max_tokens=7))
    assert [1 <= len(blank) <= 7 for blank in blanks] == [True] * 3
    tokens, spans, rest = [], [], iter(blanks)
    for token in PROMPT:
        if token in (SPECIAL.mask, SPECIAL.smask, SPECIAL.gmask):
            blank = next(rest)
            spans.append((len(tokens), len(tokens) + len(blank)))
            tokens += blank
        else:
            tokens.append(token)
    row = lay_out(tokens, spans, [0, 1, 2], **IDS)
    ids = torch.from_numpy(row.input_ids.astype("int64"))[None]
    ids[0, : len(PROMPT)] = torch.tensor(PROMPT)  # each with its own mask token
    both = torch.tensor([row.position_ids.tolist(), row.block_position_ids.tolist()])[None]
    if positions == "rotary-1d":
        both = one_row(both, ids, SPECIAL.gmask)
    logits = model(ids, both, torch.tensor([row.context_length]))[0]
    allowed = torch.cat([torch.arange(90), torch.tensor([SPECIAL.eop, SPECIAL.eos])])
    likeliest = allowed[logits[:, allowed].argmax(-1)]
    for place in range(row.context_length, len(ids[0])):
        target = int(row.target_ids[place])
        if target != SPECIAL.eop:
            assert int(likeliest[place]) == target


def test_positions_are_those_of_chatglm():
    golden("chatglm_tiny_io")
    steps = json.loads((GOLDEN / "chatglm_tiny_meta.json").read_text("utf-8"))["incremental_position_ids"]
    reader = Reader(small_model("rotary-2d"), list(range(12)), room=20)
    reader.begin(11)
    for _ in steps:
        reader.append(torch.tensor([1]))
    expected = torch.cat([torch.tensor(step) for step in steps], dim=1)
    assert torch.equal(reader._positions[:, : reader.length], expected)


def test_steps_come_one_by_one_with_their_ends():
    model = small_model()
    steps = list(fill(model, PROMPT, SPECIAL, Decoding(max_tokens=4)))
    assert [step.blank for step in steps] == sorted(step.blank for step in steps)
    assert [step.end is None for step in steps] == [step.token is not None for step in steps]
    assert sum(step.end is not None for step in steps) == 3
    for blank in range(3):
        mine = [step for step in steps if step.blank == blank]
        assert (len(mine) == 5) == (mine[-1].end == "length")
    with torch.no_grad():  # a model that always ends
        model.word_embeddings.weight[SPECIAL.eop] = 100 * model.final_layernorm.bias
        model.final_layernorm.weight.zero_()
    assert fill_blanks(model, PROMPT, SPECIAL, Decoding()) == [[], [], []]
    assert {step.end for step in fill(model, PROMPT, SPECIAL, Decoding())} == {"eop"}


def test_special_tokens_and_ids_beyond_the_tokenizer_never_come():
    model = small_model(seed=5)
    decoding = Decoding(max_tokens=40, temperature=50.0)
    for seed in range(8):
        for blank in fill_blanks(model, PROMPT, SPECIAL, Decoding(max_tokens=40, temperature=50.0, seed=seed)):
            assert all(token < 90 for token in blank)
    assert fill_blanks(model, PROMPT, SPECIAL, decoding) == fill_blanks(model, PROMPT, SPECIAL, decoding)


def test_the_seed_decides_what_is_drawn():
    model = small_model()
    drawn = [fill_blanks(model, PROMPT, SPECIAL, Decoding(temperature=2.0, seed=seed)) for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]


@given(st.lists(st.integers(0, 3), max_size=20), st.integers(0, 4))
def test_repeats_are_all_tokens_that_would_end_a_known_run(tokens, size):
    runs = {tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)} if size else set()
    expected = {token for token in range(4) if size and tuple([*tokens, token][-size:]) in runs and len(tokens) >= size}
    assert set(repeats(tokens, size)) == expected


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_run_comes_twice(beams, size):
    model = small_model(seed=7)
    plain = fill_blanks(model, PROMPT, SPECIAL, Decoding(max_tokens=30, num_beams=beams))
    held = fill_blanks(model, PROMPT, SPECIAL, Decoding(max_tokens=30, num_beams=beams, no_repeat_ngram=size))
    for blank in held:
        runs = [tuple(blank[at : at + size]) for at in range(len(blank) - size + 1)]
        assert len(set(runs)) == len(runs)
    assert plain != held


@given(
    st.lists(st.integers(-50, 50), min_size=3, max_size=12, unique=True),
    st.integers(0, 12),
    st.floats(0.05, 1),
    st.floats(0.2, 3),
)
def test_only_the_likeliest_tokens_are_drawn(logits, top_k, top_p, temperature):
    logits = [number / 10 for number in logits]
    found = torch.tensor(logits).log_softmax(-1)
    order = sorted(range(len(logits)), key=lambda token: -logits[token])[: top_k or None]
    weights = [float(torch.tensor(logits[token] / temperature).exp()) for token in order]
    allowed, before = set(), 0.0
    for token, weight in zip(order, weights, strict=True):
        if before < top_p + 1e-5:
            allowed.add(token)
        before += weight / sum(weights)
    decoding = Decoding(temperature=temperature, top_k=top_k, top_p=top_p)
    generator = torch.Generator().manual_seed(0)
    drawn = {sample_token(found, decoding, generator) for _ in range(60)}
    assert drawn <= allowed
    assert order[0] in drawn or weights[0] / sum(weights) < 0.2


def test_tokens_are_drawn_as_often_as_they_are_likely():
    found = torch.tensor([0.5, 0.3, 0.2]).log()
    generator = torch.Generator().manual_seed(0)
    drawn = [sample_token(found, Decoding(temperature=1.0), generator) for _ in range(3000)]
    for token, share in enumerate((0.5, 0.3, 0.2)):
        assert abs(drawn.count(token) / 3000 - share) < 0.03


def log_probability(model, tokens, ended):
    """Of a blank's tokens (and its eop), from one call of the model."""
    prompt = [5, SPECIAL.mask, 9]
    ids = torch.tensor([[*prompt, SPECIAL.sop, *tokens]])
    both = torch.tensor([[0, 1, 2] + [1] * (len(tokens) + 1), [0, 0, 0, *range(1, len(tokens) + 2)]])[None]
    found = model(ids, both, torch.tensor([3]))[0, 3:].detach().double().log_softmax(-1)
    targets = [*tokens, SPECIAL.eop] if ended else tokens
    return sum(float(found[place, target]) for place, target in enumerate(targets))


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0, -0.5])
@pytest.mark.parametrize("seed", range(3))
def test_wide_beams_find_the_best_of_all_continuations(penalty, seed):
    """Of four tokens, up to three of them: all 85 are tried by hand."""
    special = SPECIAL.above(4)  # ids 4 to 10 are special
    model = small_model(seed=seed, vocabulary_size=11).double()
    with torch.no_grad():
        model.word_embeddings.weight[special.eos] = -model.word_embeddings.weight[special.eop]
        model.word_embeddings.weight.mul_(0.3)
    prompt, limit = [1, special.mask, 3], 3
    best, best_score = None, float("-inf")
    for length in range(limit + 1):
        for tokens in itertools.product(range(4), repeat=length):
            ids = torch.tensor([[*prompt, special.sop, *tokens]])
            both = torch.tensor([[0, 1, 2] + [1] * (length + 1), [0, 0, 0, *range(1, length + 2)]])[None]
            found = model(ids, both, torch.tensor([3]))[0, 3:].detach().float().log_softmax(-1).double()
            total = sum(float(found[place, token]) for place, token in enumerate(tokens))
            for end in (None,) if length == limit else (special.eop, special.eos):
                whole = total if end is None else total + float(found[length, end])
                score = whole / (length + (end is not None)) ** penalty
                if score > best_score:
                    best, best_score = list(tokens), score
    decoding = Decoding(max_tokens=limit, num_beams=100, length_penalty=penalty)
    assert fill_blanks(model, prompt, special, decoding) == [best]


@pytest.mark.parametrize("positions", FAMILY)
def test_beams_are_at_least_as_likely_as_the_greedy_choice(positions):
    model = small_model(positions, seed=3)
    found = []
    for beams in (1, 6):
        decoding = Decoding(max_tokens=5, num_beams=beams, length_penalty=0.0 if beams > 1 else 1.0)
        blanks = list(fill(model, [5, SPECIAL.mask, 9], SPECIAL, decoding))
        tokens = [step.token for step in blanks if step.token is not None]
        found.append(log_probability(model, tokens, blanks[-1].end == "eop"))
    assert found[1] >= found[0] - 1e-6


def test_scores_are_log_probabilities_but_for_what_may_not_come():
    logits = torch.randn(2, 6)
    found = scores(logits, torch.tensor([5]), [[0], []])
    assert (found[:, 5] == -torch.inf).all()
    assert found[0, 0] == -torch.inf
    assert torch.allclose(found[1, :5], logits.log_softmax(-1)[1, :5])


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([1, 2, 3], r"nothing to fill; put \[MASK\]"),
        ([SPECIAL.mask] * 65, "65 tokens, the model reads 64"),
        ([SPECIAL.mask, 100], "ids up to 100, the model 100"),
        ([], "nothing to fill"),
    ],
)
def test_prompts_that_cannot_be_filled_are_refused_in_one_line(prompt, message):
    with pytest.raises(InputError, match=message) as error:
        fill(small_model(), prompt, SPECIAL, Decoding())
    assert "\n" not in str(error.value)


def test_a_blank_ends_where_the_positions_do():
    model = small_model()
    with torch.no_grad():  # a model that never ends
        model.word_embeddings.weight[[SPECIAL.eop, SPECIAL.eos]] = -100 * model.final_layernorm.bias
        model.final_layernorm.weight.zero_()
    blanks = fill_blanks(model, [1, SPECIAL.mask, SPECIAL.mask], SPECIAL, Decoding(max_tokens=1000))
    assert [len(blank) for blank in blanks] == [63, 63]


@pytest.mark.parametrize(
    "settings",
    [{"top_k": 5}, {"top_p": 0.5}, {"temperature": 1.0, "num_beams": 2}, {"length_penalty": 0.5}, {"max_tokens": 0},
     {"temperature": -1.0}, {"top_p": 0.0, "temperature": 1.0}, {"seed": -1}],
)  # fmt: skip
def test_settings_without_sense_or_effect_are_refused(settings):
    with pytest.raises(ConfigError):
        Decoding(**settings)
