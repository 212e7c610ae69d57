"""Checkpoints of the originals: THUDM/GLM and ChatGLM-6B, into our names and back.

Our names are theirs without `transformer.`. Two things differ: ChatGLM-6B keeps queries, keys and values together by
head, [heads, 3, D], where GLM and we have [3, heads, D]; and its files hold the rotary frequencies, which follow from
the sizes. Nothing that could run code is read: safetensors, and PyTorch files with `weights_only`.
"""

import functools
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from glmdata.errors import ConfigError, InputError
from glmdata.model.config import GLMConfig
from glmdata.model.rotary import inverse_frequencies
from glmdata.storage import whole_file

if TYPE_CHECKING:
    from glmdata.model.glm import GLM

__all__ = [
    "Kind",
    "export_reference",
    "load_reference_file",
    "load_weights",
    "read_tensors",
    "save_reference_file",
    "to_ours",
]

Kind = Literal["glm", "chatglm-6b"]
_FREQUENCIES = "attention.rotary_emb.inv_freq"
_BY_HEAD = re.compile(r"layers\.\d+\.attention\.query_key_value\.(weight|bias)")


def to_ours(state: Mapping[str, Tensor], kind: str, num_heads: int) -> dict[str, Tensor]:
    """The tensors of an original under our names, rearranged where need be.

    Args:
        state: a state dict as the original saves it; prefixes `module.`, `glm.` (Hugging Face) are taken off.
        kind: "glm" or "chatglm-6b".
        num_heads: of attention.

    Raises:
        ConfigError: a kind that is not known, or heads that do not divide the tensors.
    """
    if kind not in ("glm", "chatglm-6b"):
        raise ConfigError(f"no reference {kind!r}; there are glm and chatglm-6b")
    found = {}
    for name, tensor in state.items():
        ours = re.sub(r"^(module\.|glm\.)*(transformer\.)?", "", name)
        if ours.endswith(_FREQUENCIES):
            continue
        if kind == "chatglm-6b" and _BY_HEAD.fullmatch(ours):
            if tensor.shape[0] % (3 * num_heads):
                raise ConfigError(f"{name} has {tensor.shape[0]} rows, which are not {num_heads} heads; give num_heads")
            tensor = tensor.unflatten(0, (num_heads, 3, -1)).transpose(0, 1).flatten(0, 2)  # noqa: PLW2901
        found[ours] = tensor
    return found


def export_reference(model: "GLM", kind: Kind) -> dict[str, Tensor]:
    """The state dict that the original's code loads, on the CPU.

    Raises:
        ConfigError: the model is none of that kind.
    """
    config = model.config
    if any(name.endswith(".scales") for name in model.state_dict()):
        raise ConfigError(
            "the weights are quantised, the originals' files hold none such; export the model before that"
        )
    expected = {"glm": ("learned-2d", "pre-norm", "tied"), "chatglm-6b": ("rotary-2d", "deep-norm", "separate")}
    if kind not in expected:
        raise ConfigError(f"no reference {kind!r}; there are glm and chatglm-6b")
    if (config.positions, config.residual, config.head) != expected[kind] or config.activation != "gelu":
        raise ConfigError(
            f"a model with {config.positions}, {config.residual}, {config.activation} and a {config.head} head "
            f"is no {kind}: that has {', '.join(expected[kind])} and gelu"
        )
    if model.prefix is not None:
        raise ConfigError("a prefix is no part of a model's weights; keep the checkpoint of the run that trained it")
    found = {}
    for name, tensor in model.state_dict().items():
        outside = name == "lm_head.weight" or (kind == "glm" and name == "word_embeddings.weight")
        tensor = tensor.detach().cpu()  # noqa: PLW2901
        if kind == "chatglm-6b" and _BY_HEAD.fullmatch(name):
            tensor = tensor.unflatten(0, (3, config.num_heads, -1)).transpose(0, 1).flatten(0, 2)  # noqa: PLW2901
        found[name if outside else f"transformer.{name}"] = tensor.contiguous()
    if kind == "chatglm-6b":
        frequencies = inverse_frequencies(config.head_size // 2)
        for layer in range(config.num_layers):
            found[f"transformer.layers.{layer}.{_FREQUENCIES}"] = frequencies.clone()
    return found


def load_weights(model: "GLM", found: Mapping[str, Tensor], source: str, *, assign: bool = False) -> None:
    """Fill a model with tensors of its names; all or none.

    Args:
        model: the model.
        found: name -> tensor, of any floating dtype unless `assign`.
        source: what to call them in an error.
        assign: whether the tensors become the model's (which may be on "meta") instead of being copied.

    Raises:
        ConfigError: names or shapes are others than the model's; says which.
    """
    own = model.state_dict()
    wrong = [f"lacks {name}" for name in own if name not in found]
    wrong += [f"has {name}, which the model has not" for name in found if name not in own]
    wrong += [
        f"has {name} {list(found[name].shape)}, the model {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ConfigError(f"{source} is of another configuration: it {'; it '.join(wrong[:3])}{more}")
    model.load_state_dict(dict(found), assign=assign)


def save_reference_file(model: "GLM", kind: Kind, path: Path) -> int:
    """Write a new file that the original's code loads; its bytes.

    `.safetensors`; or `.pt` and `.bin`, as torch.save writes them, glm's with the weights under "module".

    Raises:
        ConfigError: another suffix, or the model is none of that kind.
        BuildExistsError: there is something at `path` already.
        StorageError: it cannot be written.
    """
    if path.suffix not in (".safetensors", ".pt", ".bin"):
        raise ConfigError(f"{path}: the file's name must end in .safetensors, .pt or .bin")
    state = export_reference(model, kind)
    with whole_file(path) as beside:
        if path.suffix == ".safetensors":
            from safetensors.torch import save_file

            save_file(state, beside, metadata={"format": "pt"})
        else:
            torch.save({"module": state} if kind == "glm" else state, beside)
    return path.stat().st_size


def load_reference_file(
    path: str | Path,
    kind: Kind,
    config: GLMConfig,
    *,
    device: str | None = None,
    dtype: torch.dtype | Literal["file"] | None = None,
) -> "GLM":
    """A model with the weights of an original's file, or of a folder of such files (as ChatGLM-6B's eight).

    Model-parallel parts (`mp_rank_01...`) are not joined. `dtype` is that of the model's weights: PyTorch's default, or
    with "file" the widest of the file's.

    Raises:
        InputError: the file is no checkpoint, or holds more than tensors.
        ConfigError: it is of another configuration.
    """
    from glmdata.model.glm import GLM

    ours = to_ours(read_tensors(path), kind, config.num_heads)
    if dtype == "file":
        kinds = [tensor.dtype for tensor in ours.values() if tensor.is_floating_point()]
        kept = functools.reduce(torch.promote_types, kinds, kinds[0]) if kinds else torch.get_default_dtype()
    else:
        kept = dtype or torch.get_default_dtype()
    model = GLM(config, device="meta", dtype=kept)
    load_weights(model, {name: tensor.to(kept) for name, tensor in ours.items()}, str(path), assign=True)
    return model.to(device or torch.get_default_device())


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a .safetensors or PyTorch file, also those under "module" or "model", or of a folder of such.

    Raises:
        InputError: there is no such file, or it is damaged, or it holds something that is no tensor.
    """
    path = Path(path)
    if path.is_dir():
        for pattern in ("*.safetensors", "*.bin", "*.pt"):
            if files := sorted(path.glob(pattern)):
                found: dict[str, Tensor] = {}
                for file in files:
                    found.update(read_tensors(file))
                return found
        raise InputError(f"{path}: no .safetensors, .bin or .pt file in this folder")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other protocols of pickle, which load or fail like any
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(f"{path}: holds more than tensors, or is no PyTorch file; save its state dict alone") from None
    except Exception as error:  # its unpickler raises a dozen kinds on damaged files, some without a word
        told = (str(error).splitlines() or ["it ends early"])[0]
        raise InputError(f"{path}: not a whole PyTorch file ({told})") from None
    for key in ("module", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path}: holds no state dict of tensors")
    return {str(name): tensor for name, tensor in found.items()}
