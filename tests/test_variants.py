"""The reference's variants of the layout: equal to the original's golden vectors, and undone exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from infilled import (
    COLUMNS,
    ONLY,
    SHARED_PAD,
    Text,
    article_stream,
    documents,
    golden,
    row_of,
    rows_of_any_style,
    spans_settings,
    special_for,
    text_of,
)

from glmdata.infilling.layout import lay_out
from glmdata.infilling.restore import restore
from glmdata.infilling.style import style_of
from glmdata.infilling.windows import DOCUMENT, TOKEN
from glmdata.recipe import SpanSettings


def variant_options(variant, case, ids):
    """`lay_out`'s words for a variant of the original."""
    if variant == "no_block_position":
        return {"block_positions": False}
    if variant == "random_position":
        return {"position_bias": case["position_bias"]}
    return {"sentinels": (ids["MASK1"], 128)} if variant == "sentinel" else {}


@pytest.mark.parametrize("variant", ["no_shuffle", "no_block_position", "random_position", "sentinel", "block_mask"])
def test_variants_of_the_original_are_reproduced(variant):
    ids, cases = golden("data_make_block.json")
    chosen = [case for case in cases if case["variant"] == variant]
    for case in chosen:
        task = {"gap_sentence": "sMASK", "generation": "gMASK"}.get(case["task"], "MASK")
        mask = ids[task if case["options"].get("task_mask") else "MASK"]
        sample = lay_out(
            case["input"],
            case["spans"],
            case["part_b_order"],
            mask_id=mask,
            sop_id=ids["sop"],
            eop_id=ids["eop"],
            **variant_options(variant, case, ids),
        )
        corrupted = [at for at, token in enumerate(case["tokens"]) if token == ids["dBLOCK"]]
        assert not corrupted or variant == "block_mask"
        assert all(at > case["sep"] and sample.input_ids[at] < 500 for at in corrupted)
        sample.input_ids[corrupted] = ids["dBLOCK"]  # which places is drawn; see the test of their share

        columns = [column.tolist() for column in sample[:5]]
        wanted = [case["tokens"], case["targets"], case["loss_mask"], *case["position_ids"]]
        assert [*columns, sample.context_length] == [*wanted, case["sep"]], case["id"]
    assert len(chosen) == 8


def test_suffixes_of_the_original_are_reproduced():
    ids, cases = golden("data_construct_blocks.json")
    seen = 0
    for case in cases:
        if case["options"].get("gpt_infill_prob") != 1.0 or "output" not in case:
            continue
        for row, sample in enumerate(case["samples"]):
            text, sep = sample["text"], case["output"]["attention_mask"][row]
            size = len(text) + 1
            want = [np.array(case["output"][name][row])[:size] for name in ("text", "target", "loss_mask")]
            want += [np.array(positions)[:size] for positions in case["output"]["position_id"][row]]
            mask = ids["gMASK" if case["options"].get("task_mask") else "MASK"]
            got = lay_out(
                text, [(sep - 1, len(text))], [0], mask_id=mask, sop_id=ids["sop"], eop_id=ids["eop"], closed=False
            )
            assert got.context_length == sep
            assert len(got.input_ids) == size
            for name, column, values in zip(COLUMNS, got, want, strict=False):
                # The original has no loss on the [CLS] of further documents; our spans never hold one.
                chosen = got.target_ids != ids["ENC"] if name == "loss_mask" else slice(None)
                assert column[chosen].tolist() == values[chosen].tolist(), (name, row)
            seen += 1
    assert seen >= 9


def test_what_cannot_be_varied_is_refused():
    ids = {"mask_id": 90, "sop_id": 91, "eop_id": 92}
    for options in ({"closed": False, "spans": []}, {"position_bias": -1}, {"position_bias": 65535},
                    {"sentinels": (93, -1)}, {"sentinels": (2**32, 5)}):  # fmt: skip
        spans = options.pop("spans", [(1, 2)])
        with pytest.raises(ValueError, match=r"spans|positions|token ids|numbered"):
            lay_out([1, 2, 3], spans, list(range(len(spans))), **ids, **options)


# ---------------------------------------------------------------- rows


@settings(max_examples=150)
@given(*rows_of_any_style)
def test_unmasking_gives_the_text_back_whatever_the_style(text, length, objectives, spans):
    special = special_for(spans)
    rows = text.rows(length, objectives=objectives, spans=spans, special=special)
    style, start = style_of(special.by_role(), spans, length), 0
    for row in range(len(rows.length)):
        want, owner = text_of(text, rows, row, start, special)
        found = restore(row_of(rows, row), style)

        assert found.tokens.tolist() == want
        assert sorted(found.order.tolist()) == list(range(len(found.spans)))
        open_suffix = int(rows.length[row]) == len(want) + 2 * len(found.spans) - 1
        for first, last in found.spans.tolist():
            inside = owner[first:last]
            if open_suffix and inside[-1] == -2 - inside[0]:
                inside = inside[:-1]  # the eos that closes the document, where no eop does
            assert inside[0] >= 0
            assert set(inside) == {inside[0]}
        assert not open_suffix or (rows.objective[row] == DOCUMENT and not spans.document_eop)
        assert not spans.sentinels or len(found.spans) <= spans.sentinels + 1
        start += int(rows.text_tokens[row])


@settings(max_examples=60)
@given(documents.map(Text), st.sampled_from([16, 64, 512]), spans_settings)
def test_styles_change_only_what_they_are_for(text, length, spans):
    """The same spans in the plain layout, but for the columns of the style."""
    special = special_for(spans)
    rows = text.rows(length, spans=spans, special=special)
    style = style_of(special.by_role(), spans, length)
    for row in range(len(rows.length)):
        used, context = int(rows.length[row]), int(rows.context_length[row])
        found = restore(row_of(rows, row), style)
        mask = style.mask_ids[rows.objective[row]]
        laid = lay_out(*found, mask_id=int(mask), sop_id=special.sop, eop_id=special.eop)

        ids, plain = rows.input_ids[row, :used], laid.input_ids[:used]
        changed = np.flatnonzero(ids != plain)
        own = np.isin(ids[changed], [*style.all_mask_ids(), *style.all_sop_ids()])
        assert spans.sentinels or not own.any()
        assert (ids[changed[~own]] == style.dblock).all()
        assert (changed[~own] > context).all()
        assert rows.objective[row] == TOKEN or own.all()
        in_a = rows.target_ids[row, :context]
        assert (rows.target_ids[row, context:used] == laid.target_ids[context:used]).all()
        assert (in_a == ids[:context]).all()
        assert (rows.loss_mask[row, :used] == laid.loss_mask[:used]).all()
        bias = int(rows.position_ids[row, 0])
        assert bias == 0 or spans.random_positions
        assert (rows.position_ids[row, :context] == laid.position_ids[:context] + bias).all()
        assert bias + context <= length
        in_b = length if spans.sentinels else laid.position_ids[context:used] + bias
        assert (rows.position_ids[row, context:used] == in_b).all()
        blocks = laid.block_position_ids[context:used] if spans.block_positions else 1
        assert (rows.block_position_ids[row, context:used] == blocks).all()


def test_styles_leave_the_masks_where_they_were():
    text = article_stream(30_000)
    plain = text.rows(512)
    for changes in ({"block_positions": False}, {"random_positions": True}, {"block_mask_ratio": 0.1}):
        spans = SpanSettings(**changes)
        rows = text.rows(512, spans=spans, special=special_for(spans))

        assert np.array_equal(rows.target_ids, plain.target_ids), changes
        assert np.array_equal(rows.context_length, plain.context_length)


def test_inputs_are_corrupted_in_the_share_asked_for():
    spans = SpanSettings(block_mask_ratio=0.1)
    special = special_for(spans)
    rows = article_stream(400_000).rows(512, spans=spans, special=special, objectives=ONLY[TOKEN])
    part_b = (np.arange(512) >= rows.context_length[:, None]) & (np.arange(512) < rows.length[:, None])
    words = part_b & (rows.input_ids != special.sop)

    assert (rows.input_ids == special.dblock)[~words].sum() == 0
    assert (rows.input_ids == special.dblock)[words].mean() == pytest.approx(0.1, abs=0.004)


def test_positions_begin_anywhere():
    rows = article_stream(200_000).rows(512, spans=SpanSettings(random_positions=True), objectives=ONLY[TOKEN])
    room = 512 - rows.context_length.astype(np.int64)

    share = rows.position_ids[:, 0] / room
    assert share.min() < 0.02
    assert share.mean() == pytest.approx(0.5, abs=0.04)


def test_special_tokens_of_styles_lie_above_the_others_and_apart():
    plain = SHARED_PAD.extended(dblock=False, sentinels=0)
    roles = SHARED_PAD.extended(dblock=True, sentinels=2).by_role()

    assert plain == SHARED_PAD
    added = {role: token for role, token in roles.items() if role not in SHARED_PAD.by_role()}
    assert added == {"dblock": 1007, "mask1": 1008, "sop1": 1009, "mask2": 1010, "sop2": 1011}
    assert SHARED_PAD.extended(dblock=True, sentinels=2).num_added == 5
    texts = SHARED_PAD.extended(dblock=True, sentinels=2).texts()
    assert [texts[role] for role in added] == [
        "[dBLOCK]", "[MASK1]", "<|startofpiece1|>", "[MASK2]", "<|startofpiece2|>",
    ]  # fmt: skip
