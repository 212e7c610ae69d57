"""Generation: seconds for 512 tokens with the key and value cache, and with everything computed anew for each token.

    python benchmarks/generate.py [--preset tiny] [--tokens 512] [--prompt 32] [--threads 1]

Weights are fresh, so what is said is nonsense of full length; the tokens of both ways are compared.
"""

import argparse
import time
from collections.abc import Callable

import torch

from glmdata.model import GLM, preset
from glmdata.model.decoding import Decoding
from glmdata.model.generation import fill_blanks
from glmdata.tokenization import SpecialTokens


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = GLM(preset(args.preset, max_positions=1024, dropout=0.0)).eval()
    special = SpecialTokens.above(model.config.vocabulary_size - 7)
    without_end(model, special)
    prompt = [*range(100, 100 + args.prompt), special.gmask]
    decoding = Decoding(max_tokens=args.tokens, no_repeat_ngram=1)

    fill_blanks(model, prompt, special, Decoding(max_tokens=8))
    cached, kept = timed(lambda: fill_blanks(model, prompt, special, decoding))
    plain, again = timed(lambda: fill_blanks(model, prompt, special, decoding, use_cache=False))
    assert kept == again
    assert len(kept[0]) == args.tokens
    print(f"{args.preset}: {model.num_parameters() / 1e6:.1f} million parameters, {args.threads} threads")
    print(f"with cache        {cached:8.2f} s  {args.tokens / cached:8.1f} tokens/s")
    print(f"computed anew     {plain:8.2f} s  {args.tokens / plain:8.1f} tokens/s")
    print(f"speed-up          {plain / cached:8.1f}")


def without_end(model: GLM, special: SpecialTokens) -> None:
    """Make eop and eos unlikely: the last norm gives a direction that they point away from."""
    with torch.no_grad():
        model.final_layernorm.bias[0] = 10.0
        model.word_embeddings.weight[:, 0] = 0.0
        model.word_embeddings.weight[[special.eop, special.eos], 0] = -10.0


def timed(call: Callable[[], list[list[int]]]) -> tuple[float, list[list[int]]]:
    """Seconds, and what was said."""
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


if __name__ == "__main__":
    main()
