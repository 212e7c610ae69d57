"""Rows of infilling for tests: of made-up texts, taken apart again, with the rules that they must hold."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from corpora import SHARED
from hypothesis import strategies as st

from glmdata.infilling.unmask import Tensors, lay_out_rows
from glmdata.infilling.windows import DOCUMENT, SENTENCE, TOKEN, fill_rows
from glmdata.recipe import ObjectiveWeights, SpanSettings
from glmdata.shards.compact import unmasked
from glmdata.tokenization.special import SpecialTokens

SHARED_PAD = SpecialTokens.above(1000)

OWN_PAD = SpecialTokens(mask=1007, gmask=1001, smask=1002, sop=1003, eop=1004, cls=1005, eos=1006, pad=1000)

ONLY = {
    TOKEN: ObjectiveWeights(token=1, sentence=0, document=0),
    SENTENCE: ObjectiveWeights(token=0, sentence=1, document=0),
    DOCUMENT: ObjectiveWeights(token=0, sentence=0, document=1),
}


@dataclasses.dataclass
class Text:
    """Documents as lists of sentences' lengths; token i of the stream is i modulo 1000."""

    documents: list[list[int]]

    def __post_init__(self):
        self.offsets = np.cumsum([0, *(sum(d) for d in self.documents)])
        self.ends = np.cumsum([n for d in self.documents for n in d]).astype(np.int64)
        self.tokens = (np.arange(self.offsets[-1]) % 1000).astype(np.int32)

    def rows(self, length, **changes):
        arguments = {
            "continued": False,
            "complete": True,
            "special": SHARED_PAD,
            "sequence_length": length,
            "packing": "concat",
            "objectives": ObjectiveWeights(),
            "spans": SpanSettings(),
            "seed": 7,
            "first_sample_id": 0,
        }
        return fill_rows(self.tokens, self.offsets, self.ends, **{**arguments, **changes})


def article_stream(size, mean_document=700, mean_sentence=25):
    """Documents and sentences of random length, about those of news and encyclopedias."""
    rng, documents = np.random.default_rng(3), []
    while size > 0:
        sentences = rng.geometric(1 / mean_sentence, 1 + rng.geometric(mean_sentence / mean_document)).tolist()
        documents.append(sentences)
        size -= sum(sentences)
    return Text(documents)


def unmask(rows, row, special):
    """(tokens before masking, spans in text order, order in Part B) of one row."""
    context, length = int(rows.context_length[row]), int(rows.length[row])
    ids, places = rows.input_ids[row].tolist(), rows.position_ids[row].tolist()
    starts = [i for i in range(context, length) if ids[i] == special.sop]
    parts = [(places[a], ids[a + 1 : b]) for a, b in zip(starts, [*starts[1:], length], strict=True)]
    tokens, spans, last = [], [], 0
    for place, part in sorted(parts):
        tokens += ids[last:place]
        spans.append((len(tokens), len(tokens) + len(part)))
        tokens += part
        last = place + 1
    ranks = {place: rank for rank, (place, _) in enumerate(sorted(parts))}
    return [*tokens, *ids[last:context]], spans, [ranks[place] for place, _ in parts]


def expected_text(text, rows, row, start, special, complete):
    """The row before masking, its runs and sentence ends, from the stream and the documents the row names."""
    stop, out, runs, ends = start + int(rows.text_tokens[row]), [], [], []
    for document in range(rows.document_first[row], rows.document_last[row]):
        a, b = max(start, text.offsets[document]), min(stop, text.offsets[document + 1])
        assert a < b
        out.append(special.cls)
        runs.append((len(out), len(out) + b - a))
        ends += [len(out) + int(e) - a for e in text.ends if a < e <= b]
        out += text.tokens[a:b].tolist()
        if b == text.offsets[document + 1] and (complete or document + 2 < len(text.offsets)):
            out.append(special.eos)
    return out, runs, ends


def check_spans(objective, spans, runs, ends, size):
    """The rules of each objective for one row."""
    assert len(spans) >= 1
    masked = sum(end - start for start, end in spans)
    for start, end in spans:
        assert any(a <= start < end <= b for a, b in runs)
    if objective == DOCUMENT:
        longest = max(b - a for a, b in runs)
        run = next((a, b) for a, b in runs if b - a == longest)
        assert len(spans) == 1
        assert run[0] <= spans[0][0] < spans[0][1] <= run[1]
        assert masked >= np.ceil(0.25 * longest)
    elif objective == SENTENCE:
        edges = sorted({*ends, *(edge for run in runs for edge in run)})
        sentences = [pair for pair in itertools.pairwise(edges) if any(a <= pair[0] < b for a, b in runs)]
        if len(sentences) == 1:
            assert masked <= max(1, (sentences[0][1] - sentences[0][0]) // 2)
        else:
            assert set(spans) < set(sentences)
    else:
        assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
        assert masked < max(1, int(0.15 * size)) + 39


documents = st.lists(
    st.one_of(
        st.just([1]),
        st.lists(st.integers(1, 6), min_size=1, max_size=4),
        st.lists(st.integers(1, 90), min_size=1, max_size=30),
        st.integers(1, 3000).map(lambda n: [n]),
        st.integers(1, 300).map(lambda n: [1] * n),
    ),
    min_size=1,
    max_size=25,
)


COLUMNS = ("input_ids", "target_ids", "loss_mask", "position_ids", "block_position_ids")


def golden(name):
    path = SHARED / "golden" / name
    if not path.exists():
        pytest.skip(f"no golden vectors at {path}")
    found = json.loads(path.read_text("utf-8"))
    return found["meta"]["command_ids"], found["cases"]


spans_settings = st.builds(
    SpanSettings,
    document_eop=st.booleans(),
    shuffle=st.booleans(),
    block_positions=st.booleans(),
    random_positions=st.booleans(),
    sentinels=st.sampled_from([0, 1, 5, 40]),
    block_mask_ratio=st.sampled_from([0.0, 0.3, 1.0]),
)

rows_of_any_style = (
    documents.map(Text),
    st.sampled_from([16, 40, 128, 512]),
    st.sampled_from([ObjectiveWeights(), *ONLY.values()]),
    spans_settings,
)
"""text, length, objectives, spans"""


def special_for(spans):
    return SHARED_PAD.extended(dblock=spans.block_mask_ratio > 0, sentinels=spans.sentinels)


def row_of(rows, row):
    names = ("input_ids", "target_ids", "position_ids", "block_position_ids", "context_length", "length")
    return {name: getattr(rows, name)[row] for name in names}


def text_of(text, rows, row, start, special):
    """The row before masking and which of its places are of one document each."""
    tokens, owner, stop = [], [], start + int(rows.text_tokens[row])
    for document in range(rows.document_first[row], rows.document_last[row]):
        a, b = max(start, text.offsets[document]), min(stop, text.offsets[document + 1])
        tokens += [special.cls, *text.tokens[a:b].tolist()]
        owner += [-1, *[document] * (b - a)]
        if b == text.offsets[document + 1]:
            tokens.append(special.eos)
            owner.append(-2 - document)
    return tokens, owner


SEED = 7  # that of Text.rows


def views_of(rows):
    names = ("input_ids", "target_ids", "position_ids", "context_length", "length", "objective", "sample_id")
    return {name: getattr(rows, name) for name in names}


def taken_apart(rows, style):
    """The rows before masking, their sentence ends included."""
    found = unmasked(views_of(rows), rows.input_ids.shape[1], style)
    for row, (a, b) in enumerate(itertools.pairwise(rows.sentence_end_offsets)):
        found.sentence_ends[row, : b - a] = rows.sentence_ends[a:b]
        found.num_ends[row] = b - a
    return found


def laid_out(found, epochs, style):
    """Columns of a shard by name, from rows before masking."""
    tensors = Tensors.empty(*found.tokens.shape)
    context, length = lay_out_rows(found, epochs, style, SEED, tensors)
    return {
        "input_ids": tensors.input_ids,
        "target_ids": tensors.target_ids,
        "loss_mask": tensors.loss_mask,
        "position_ids": tensors.positions[:, 0],
        "block_position_ids": tensors.positions[:, 1],
        "context_length": context,
        "length": length,
    }


def figures(rows):
    """Spans, masked tokens and tokens before masking of each row."""
    lengths, contexts = rows.length.astype(np.int64), rows.context_length.astype(np.int64)
    spans = (rows.input_ids == SHARED_PAD.sop).sum(1)
    return spans, lengths - contexts - spans, lengths - 2 * spans
