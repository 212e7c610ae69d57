"""Small GLMs for tests: the golden ones of the originals, and ones with weights that every term shows in."""

import json
from typing import Any

import numpy as np
import pytest
from corpora import SHARED

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'glmdata[train]'")
pytest.importorskip("safetensors", reason="safetensors is not installed: pip install 'glmdata[train]'")

from glmdata.infilling.layout import lay_out  # noqa: E402
from glmdata.model import GLM, GLMConfig  # noqa: E402
from glmdata.tokenization import SpecialTokens  # noqa: E402

GOLDEN = SHARED / "golden"
SPECIAL = SpecialTokens.above(90)
IDS = {"mask_id": SPECIAL.mask, "sop_id": SPECIAL.sop, "eop_id": SPECIAL.eop}
FAMILY = ("learned-2d", "rotary-2d", "rotary-1d")
torch.set_num_threads(1)


def golden(name: str) -> dict[str, Any]:
    """Tensors of a golden file, numbers of its scalars."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden vectors at {GOLDEN} (set GLMDATA_SHARED_DATA)")
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as found:
        return {key: torch.from_numpy(found[key]) if found[key].ndim else found[key].item() for key in found.files}


def golden_config(name: str, positions: str, **changes: Any) -> GLMConfig:
    """Configuration of a golden model."""
    golden(f"{name}_state_dict")
    found = json.loads((GOLDEN / f"{name}_meta.json").read_text("utf-8"))["config"]
    return GLMConfig(
        num_layers=found["num_layers"],
        hidden_size=found["hidden_size"],
        num_heads=found["num_attention_heads"],
        vocabulary_size=found["vocab_size"],
        max_positions=found["max_sequence_length"],
        positions=positions,
        **changes,
    )


def small_config(positions: str = "learned-2d", **changes: Any) -> GLMConfig:
    """Two layers, 100 ids, rows of up to 64."""
    fields = {
        "num_layers": 2, "hidden_size": 48, "num_heads": 3, "vocabulary_size": 100, "max_positions": 64, "dropout": 0.0
    }  # fmt: skip
    return GLMConfig(**{**fields, "positions": positions, **changes})


def small_model(positions: str = "learned-2d", seed: int = 0, **changes: Any) -> GLM:
    """Weights far from zero, gains other than 1, biases other than 0, so that no term can be missing unseen."""
    torch.manual_seed(seed)
    model = GLM(small_config(positions, **changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.2)
    return model


def small_batch(rows: int = 4, length: int = 40, seed: int = 0) -> dict[str, Any]:
    """Rows of two spans each in batches as ShardStream gives them; padded at the end."""
    rng = np.random.default_rng(seed)
    batch: dict[str, list[Any]] = {
        name: [] for name in ("input_ids", "target_ids", "loss_mask", "position_ids", "context_length")
    }
    for row in range(rows):
        tokens = rng.integers(0, 90, 24 + 3 * (row % 4))
        sample = lay_out(tokens, [(3, 6), (10, 11 + row % 3)], [row % 2, 1 - row % 2], **IDS)
        spare = length - len(sample.input_ids)
        for name in ("input_ids", "target_ids", "loss_mask"):
            batch[name].append(np.pad(getattr(sample, name).astype(np.int64), (0, spare)))
        both = np.stack([sample.position_ids, sample.block_position_ids]).astype(np.int64)
        batch["position_ids"].append(np.pad(both, ((0, 0), (0, spare))))
        batch["context_length"].append(sample.context_length)
    found = {name: torch.from_numpy(np.array(values)) for name, values in batch.items()}
    return found | {"loss_mask": found["loss_mask"].float()}
