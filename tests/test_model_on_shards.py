"""The network on the batches of real builds."""

import pytest
from corpora import write_corpus
from models import FAMILY, small_model, torch
from progress import Stops

from glmdata.errors import ConfigError
from glmdata.model.loss import INPUTS, batch_loss, loss
from glmdata.pipelines.build import build
from glmdata.pipelines.local import ThreadExecutor
from glmdata.recipe import load_recipe
from glmdata.streaming import ShardStream

SETTINGS = ["sequence_length=96", "tokenizer.vocabulary_size=500"]


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """{packing: stream} of one corpus."""
    root = tmp_path_factory.mktemp("shards")
    write_corpus(root / "corpus", 40)
    found = {}
    for packing in ("concat", "segments"):
        recipe = load_recipe("glm", [*SETTINGS, f"packing={packing}"])
        build(
            [str(root / "corpus")], root / packing, recipe, make_executor=lambda _: ThreadExecutor(1), progress=Stops()
        )
        found[packing] = ShardStream(root / packing, 6, seed=2)
    return found


@pytest.mark.parametrize("positions", FAMILY)
@pytest.mark.parametrize("packing", ["concat", "segments"])
def test_batches_of_a_build_are_what_the_network_reads(builds, packing, positions):
    batch = next(iter(builds[packing]))
    model = small_model(positions, vocabulary_size=640, max_positions=96)
    assert ("segment_ids" in batch) == (packing == "segments")
    everywhere = model(**{name: batch[name] for name in INPUTS if name in batch})
    assert everywhere.shape == (6, 96, 640)
    found = batch_loss(model, batch)
    assert torch.allclose(found, loss(everywhere, batch["target_ids"], batch["loss_mask"]), rtol=1e-5)
    found.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_samples_packed_in_a_row_do_not_see_each_other(builds):
    batch = next(iter(builds["segments"]))
    model = small_model(vocabulary_size=640, max_positions=96)
    inputs = {name: batch[name] for name in INPUTS}
    logits = model(**inputs)
    row = int(batch["segment_ids"].amax(1).argmax())
    segments = batch["segment_ids"][row]
    assert len(segments.unique()) > 2
    for segment in segments.unique()[:3]:
        changed = inputs | {"input_ids": inputs["input_ids"].clone()}
        changed["input_ids"][row, segments == segment] = 7
        moved = (model(**changed) - logits)[row].abs().amax(-1) > 1e-6
        assert moved[segments == segment].any()
        assert not moved[segments != segment].any()


def test_the_model_refuses_shards_it_cannot_read(builds):
    manifest = builds["concat"].shards.manifest
    sizes = manifest.tokenizer.vocabulary_size, manifest.sequence_length
    small_model(vocabulary_size=sizes[0], max_positions=96).config.check_rows(*sizes)
    for changes in ({"vocabulary_size": sizes[0] - 1}, {"vocabulary_size": 640, "max_positions": 95}):
        with pytest.raises(ConfigError, match="the shards have"):
            small_model(**changes).config.check_rows(*sizes)
