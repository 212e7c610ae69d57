"""What is masked, over 100,000 rows of each objective, beside the original's figures and rules.

Where ours differ on purpose: the row's length is fixed after masking, so windows are cut for their spans; objective and
lengths are drawn for each row, not for a micro-batch; token-level spans go to documents by their length and are
shortened where they do not fit, instead of dropping the row; sentences are those of the splitter, never hold a [CLS],
and one stays visible; a document-level span stays in one document.
"""

import json

import numpy as np
import pytest
from corpora import SHARED
from infilled import ONLY, SHARED_PAD, Text, article_stream, figures

from glmdata.infilling.windows import DOCUMENT, SENTENCE, TOKEN
from glmdata.recipe import ObjectiveWeights

ROWS = 100_000


def test_token_level_has_the_statistics_of_the_original():
    path = SHARED / "golden" / "data_stats.json"
    if not path.exists():
        pytest.skip(f"no golden vectors at {path}")
    wanted = json.loads(path.read_text("utf-8"))["stats"]["bert only"]
    # 561 is the original's mean length of a row after masking, whose 512 tokens before are one document, or a part.
    text, found = Text([[5700]] * 900), []
    for part in range(10):  # a tenth at a time takes a tenth of the memory
        rows = text.rows(561, objectives=ONLY[TOKEN], first_sample_id=part * ROWS)
        found.append(figures(rows))
        assert rows.reduced_tokens[TOKEN] == 0
    spans, masked, size = np.concatenate(found, axis=1)

    assert len(spans) > ROWS
    assert (size + 2 * spans).mean() == pytest.approx(wanted["unpadded_length"]["mean"], rel=0.01)
    assert size.mean() == pytest.approx(512, rel=0.01)
    assert spans.mean() == pytest.approx(wanted["spans"]["mean"], rel=0.01)
    assert np.percentile(spans, 99) == wanted["spans"]["p99"]
    assert (masked / size).mean() == pytest.approx(wanted["masked_ratio"]["mean"], rel=0.01)
    for share in (50, 99):
        assert np.percentile(masked / size, share) == pytest.approx(wanted["masked_ratio"][f"p{share}"], rel=0.01)


def test_sentence_level_masks_what_the_rule_of_the_original_masks():
    """The original on the sentences of the same rows: shuffled, taken until int(0.15 n) tokens."""
    text, ours, theirs = article_stream(10_200_000, 1500), [], []
    cuts, rng = np.union1d(text.ends, text.offsets), np.random.default_rng(1)
    for part in range(5):
        rows = text.rows(512, objectives=ONLY[SENTENCE], first_sample_id=part * ROWS)
        spans, masked, size = figures(rows)
        ours += zip(spans, masked / size, strict=True)
        start = 0
        for taken, budget in zip(rows.text_tokens.tolist(), (0.15 * size).astype(int).tolist(), strict=True):
            inside = cuts[np.searchsorted(cuts, start, "right") : np.searchsorted(cuts, start + taken, "left")]
            sums = np.cumsum(rng.permutation(np.diff([start, *inside, start + taken])))
            count = int(np.searchsorted(sums, budget))
            theirs.append((count + 1, sums[count]))
            start += taken
        theirs[-len(size) :] = [
            (count, total / n) for (count, total), n in zip(theirs[-len(size) :], size, strict=True)
        ]

    assert len(ours) > ROWS
    assert np.mean(ours, axis=0) == pytest.approx(np.mean(theirs, axis=0), rel=0.01)


def test_document_level_masks_a_quarter_to_all_of_a_document_evenly():
    """The original: randint(0.25 n, n - 2) of n; half are suffixes (gpt_infill_prob 0.5)."""
    rows = Text([[120]] * ROWS).rows(128, objectives=ONLY[DOCUMENT], packing="document")
    spans, masked, _ = figures(rows)

    assert len(spans) == ROWS
    assert (spans == 1).all()
    assert masked.min() == 30
    assert masked.max() == 120
    assert masked.mean() == pytest.approx(75, rel=0.01)
    assert np.abs(np.bincount(masked, minlength=121)[30:] / ROWS * 91 - 1).max() < 0.15
    ends_with_text = rows.input_ids[np.arange(ROWS), rows.context_length.astype(np.int64) - 2] != SHARED_PAD.gmask
    by_chance = np.mean(1 / (121 - np.arange(30, 121)))
    assert 1 - ends_with_text.mean() == pytest.approx(0.5 + 0.5 * by_chance, rel=0.01)


def test_objectives_come_in_the_shares_asked_for():
    rows = Text([[120]] * ROWS).rows(150, packing="document", objectives=ObjectiveWeights())

    share = np.bincount(rows.objective, minlength=3) / ROWS
    assert np.abs(share - [0.5, 0.3, 0.2]).max() < 0.0005
    runs = rows.objective[: ROWS // 64 * 64].reshape(-1, 64)
    counts = np.array([np.bincount(run, minlength=3) for run in runs])
    assert np.abs(counts - 64 * np.array([0.5, 0.3, 0.2])).max() <= 1
    assert len({run.tobytes() for run in runs}) == len(runs)
    # Neighbours are as good as independent: what stands behind a token-level row is of each kind in its share.
    behind = np.bincount(runs[:, 1:][runs[:, :-1] == TOKEN], minlength=3)
    assert np.abs(behind / behind.sum() - [0.5, 0.3, 0.2]).max() < 0.015
