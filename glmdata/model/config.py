"""What a GLM is made of. No PyTorch here."""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from glmdata.errors import ConfigError

__all__ = ["GLMConfig"]

Positions = Literal["learned-2d", "rotary-2d", "rotary-1d"]
Residual = Literal["auto", "pre-norm", "deep-norm"]
Activation = Literal["auto", "gelu", "geglu"]
Head = Literal["auto", "tied", "separate"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GLMConfig:
    """A decoder of the GLM family.

    `positions` names the model: learned-2d is GLM, rotary-2d ChatGLM-6B, rotary-1d GLM-130B. What is left at "auto" or
    0 is as in that model, and is filled in when the configuration is made, so that it never reads "auto" afterwards.
    """

    num_layers: int
    hidden_size: int
    num_heads: int
    vocabulary_size: int
    """Rows of the embedding; tokenizers may have fewer ids (the original's are padded to a multiple of 128)."""
    max_positions: int
    """Longest row. Tables of learned positions have one row more, whose index is `max_positions`, for sentinels."""
    positions: Positions = "learned-2d"
    """learned-2d: two tables, added to the embedding. rotary-2d: half of each head is turned by the position, half by
    the block position. rotary-1d: all of it by one row of positions, see `rotary.one_row`."""
    residual: Residual = "auto"
    """pre-norm: h + f(LN(h)). deep-norm: x = LN(h), then `residual_scale` * x + f(x)."""
    residual_scale: float = 0.0
    """DeepNorm's alpha: sqrt(2 num_layers); ChatGLM-6B's code has sqrt(2 * 28) whatever the depth."""
    activation: Activation = "auto"
    """gelu: its tanh form. geglu: the first half of the inner features times the erf gelu of the second."""
    inner_size: int = 0
    """Features inside the feed-forward part: 4 hidden_size, with geglu 8/3 of it."""
    head: Head = "auto"
    """tied: logits are products with the embedding. separate: a matrix of its own."""
    dropout: float = 0.1
    """Of the embedding, attention weights, and what attention and feed-forward part give, while training."""
    layer_norm_epsilon: float = 1e-5
    init_std: float = 0.02
    """Standard deviation of weights at the start, see `glm.GLM.reset_parameters`."""
    embedding_gradient_scale: float = 1.0
    """GLM-130B trains steadily with 0.1: e * a + e.detach() * (1 - a)."""

    def __post_init__(self) -> None:
        """Fill in what is left open. Raises ConfigError."""
        self._check()
        glm, of_130b = self.positions == "learned-2d", self.positions == "rotary-1d"
        defaults: dict[str, Any] = {
            "residual": "pre-norm" if glm else "deep-norm",
            "activation": "geglu" if of_130b else "gelu",
            "head": "separate" if self.positions == "rotary-2d" else "tied",
        }
        for name, value in defaults.items():
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, value)
        if not self.inner_size:
            width = self.hidden_size
            object.__setattr__(self, "inner_size", width * 8 // 3 if self.activation == "geglu" else 4 * width)
        if self.residual == "pre-norm":
            object.__setattr__(self, "residual_scale", 1.0)
        elif not self.residual_scale:
            depth = 28 if self.positions == "rotary-2d" else self.num_layers
            object.__setattr__(self, "residual_scale", math.sqrt(2 * depth))

    @property
    def head_size(self) -> int:
        """Features of one attention head."""
        return self.hidden_size // self.num_heads

    def as_json(self) -> dict[str, Any]:
        """All fields."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "GLMConfig":
        """The configuration that `as_json` gave. Raises ConfigError, naming the nearest field to an unknown one."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in found:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(fields)}"
                raise ConfigError(f"a GLM has no {name!r}{hint}")
        missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in found]
        if missing:
            raise ConfigError(f"the configuration of a GLM lacks {', '.join(missing)}")
        return cls(**found)

    def check_rows(self, vocabulary_size: int, sequence_length: int) -> None:
        """Whether rows of a build can be read. Raises ConfigError where ids or positions lie outside of the model's."""
        if vocabulary_size > self.vocabulary_size:
            raise ConfigError(
                f"the shards have {vocabulary_size} token ids, the model {self.vocabulary_size}; "
                f"give the model a vocabulary_size of at least {vocabulary_size}, or build with its tokenizer"
            )
        if sequence_length > self.max_positions:
            raise ConfigError(
                f"the shards have rows of {sequence_length}, the model {self.max_positions} positions; "
                f"give the model max_positions of at least {sequence_length}, or build with a shorter sequence_length"
            )

    def check_tokenizer(self, vocabulary_size: int) -> None:
        """Whether there is a row for every id of a tokenizer. Raises ConfigError."""
        if vocabulary_size > self.vocabulary_size:
            raise ConfigError(
                f"the tokenizer has {vocabulary_size} ids, the model {self.vocabulary_size}; "
                "give the tokenizer that the model was trained with"
            )

    def _check(self) -> None:
        for name in ("num_layers", "hidden_size", "num_heads", "vocabulary_size", "max_positions", "inner_size"):
            value, least = getattr(self, name), 0 if name == "inner_size" else 1
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 31:
                raise ConfigError(f"{name} must be an integer, {least} or more, it is {value!r}")
        for name, kind in (
            ("positions", Positions),
            ("residual", Residual),
            ("activation", Activation),
            ("head", Head),
        ):
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(kind))}, it is {getattr(self, name)!r}")
        for name, low, high in (
            ("residual_scale", 0.0, 1e4),
            ("dropout", 0.0, 0.99),
            ("layer_norm_epsilon", 0.0, 1.0),
            ("init_std", 0.0, 1.0),
            ("embedding_gradient_scale", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ConfigError(f"{name} must be a number in {low:g} to {high:g}, it is {value!r}")
        unit = {"learned-2d": 1, "rotary-1d": 2, "rotary-2d": 4}[self.positions]
        if self.hidden_size % self.num_heads or self.head_size % unit:
            raise ConfigError(
                f"hidden_size {self.hidden_size} gives {self.num_heads} heads no equal sizes"
                + (f" that {unit} divides, as {self.positions} needs" if unit > 1 else "")
            )
