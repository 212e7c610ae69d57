"""Language, sentences and tokenizer beside their peers, in one run.

    python benchmarks/text.py [--data DIR] [--model FILE.model]

Reads DIR/language/labelled.jsonl, DIR/sentences/{en,zh}.jsonl and DIR/corpus (default ../shared/data). Peers are run
where they are installed: pysbd, sentencex, nupunkt, blingfire; fastText and langdetect come with glmdata. Accuracy is
on three classes (zh, en, other), a boundary is the number of characters before it that are no white space. Speed is
the best of three runs on one core.
"""

import argparse
import importlib
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import sentencepiece
from timing import least_seconds

from glmdata.corpus.files import find_files
from glmdata.corpus.readers import read_split
from glmdata.corpus.splits import plan_splits
from glmdata.recipe import CorpusSettings, TokenizerSettings
from glmdata.text.language import identify
from glmdata.text.sentences import split_sentences
from glmdata.tokenization import Tokenizer
from glmdata.tokenization.training import train_tokenizer


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, help="a SentencePiece model; without it one of 16,000 pieces is trained")
    args = parser.parse_args()
    if not args.data.is_dir():
        sys.exit(f"no data at {args.data}: give --data DIR")
    documents = read_documents(args.data / "corpus")
    languages(args.data / "language" / "labelled.jsonl", documents)
    sentences(args.data / "sentences", documents)
    tokenizers(args.model, documents)


def read_documents(folder: Path) -> list[str]:
    """All texts of a corpus."""
    settings, texts = CorpusSettings(), list[str]()
    for split in plan_splits(find_files([str(folder)]).files, settings):
        for batch in read_split(split, settings, lambda text: text):
            texts += [text for text in batch["text"].to_pylist() if text]
    return texts


def megabytes(texts: Iterable[str]) -> float:
    """UTF-8 size."""
    return sum(len(text.encode()) for text in texts) / 1e6


def table(title: str, head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print aligned columns."""
    lines = [list(map(str, head)), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for line in lines:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def languages(path: Path, documents: list[str]) -> None:
    """Three-class accuracy by engine and length."""
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    texts = [row["text"] for row in rows]
    found = []
    for engine in ("scripts", "fasttext", "langdetect"):
        step = 10 if engine == "langdetect" else 1
        guesses = [guess.language for guess in identify(texts[::step], engine=engine)]
        classes = [three_classes(code) for code in guesses]
        # Cantonese is written in Han characters: zh and other are both right.
        golds = [
            three_classes("zh" if row["lang"] == "yue" and guess == "zh" else row["lang"])
            for row, guess in zip(rows[::step], classes, strict=True)
        ]
        pairs = list(zip(golds, classes, texts[::step], strict=True))
        part = documents[:: 50 if engine == "langdetect" else 1]
        rate = megabytes(part) / least_seconds(lambda part=part, engine=engine: identify(part, engine=engine), 2)
        found.append(
            (
                engine,
                share([label == guess for label, guess, _ in pairs]),
                share([guess == "zh" for label, guess, _ in pairs if label == "zh"]),
                share([guess == "en" for label, guess, _ in pairs if label == "en"]),
                share([guess == "en" for label, guess, text in pairs if label == "en" and len(text) < 20]),
                share([guess != "other" for label, guess, _ in pairs if label == "other"]),
                f"{rate:.1f}",
            )
        )
    head = ("engine", "accuracy", "zh recall", "en recall", "en < 20 characters", "other taken for zh or en", "MB/s")
    table(f"language, {len(rows)} texts (langdetect: every tenth)", head, found)


def three_classes(code: str) -> str:
    """Of a language code: zh, en or other."""
    return "zh" if code.startswith("zh") else "en" if code == "en" else "other"


def share(hits: list[bool]) -> str:
    """Percentage of hits."""
    return f"{sum(hits) / max(1, len(hits)):.2%}"


def sentences(folder: Path, documents: list[str]) -> None:
    """Boundary F1 by language and splitter."""
    for language in ("en", "zh"):
        path = folder / f"{language}.jsonl"
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
        part = [text for text in documents if is_chinese(text) == (language == "zh")][::20]
        found = []
        for name, split in splitters(language).items():
            hits = made = wanted = 0
            for row in rows:
                want, got = boundaries(row["sentences"]), boundaries(split(row["text"]))
                hits, made, wanted = hits + len(want & got), made + len(got), wanted + len(want)
            rate = megabytes(part) / least_seconds(lambda split=split, part=part: [split(text) for text in part], 1)
            f1 = 2 * hits / max(1, made + wanted)
            found.append(
                (name, f"{f1:.4f}", f"{hits / max(1, made):.4f}", f"{hits / max(1, wanted):.4f}", f"{rate:.2f}")
            )
        table(f"sentences, {language}, {len(rows)} texts", ("splitter", "F1", "precision", "recall", "MB/s"), found)


def boundaries(pieces: Iterable[str]) -> set[int]:
    """Characters before each inner boundary, white space not counted."""
    found, count = set(), 0
    for piece in pieces:
        count += len(re.sub(r"\s+", "", piece))
        found.add(count)
    return found - {0, count}


def splitters(language: str) -> dict[str, Callable[[str], list[str]]]:
    """Ours, and the peers that are installed."""
    found: dict[str, Callable[[str], list[str]]] = {"glmdata": lambda text: split_sentences(text, language)}
    for name in ("pysbd", "sentencex", "nupunkt", "blingfire"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if name == "pysbd":
            found[name] = module.Segmenter(language=language, clean=False).segment
        elif name == "sentencex":
            found[name] = lambda text, module=module: list(module.segment(language, text))
        elif name == "nupunkt":
            found[name] = module.sent_tokenize
        else:
            found[name] = lambda text, module=module: module.text_to_sentences(text).split("\n")
    return found


def is_chinese(text: str) -> bool:
    """Whether Han letters make up a third of its beginning."""
    head = text[:2000]
    return sum("\u3400" <= character <= "\u9fff" for character in head) > 0.3 * len(head)


def trained(documents: list[str]) -> bytes:
    """Train on every fifth document, by us and by SentencePiece on the same lines; bytes a token on the others."""
    sample = documents[::5]
    unseen = [text for number, text in enumerate(documents) if number % 5]
    found, models = [], []
    for name, train in (("glmdata", train_tokenizer), ("SentencePiece", train_plain)):
        started = time.perf_counter()
        models.append(train(sample, TokenizerSettings(vocabulary_size=16000)))
        passed = time.perf_counter() - started
        processor = sentencepiece.SentencePieceProcessor(model_proto=models[-1])
        sizes = []
        for chinese in (True, False):
            part = [text for text in unseen if is_chinese(text) == chinese]
            tokens = sum(map(len, processor.encode(part, out_type="numpy", num_threads=1)))
            sizes.append(f"{1e6 * megabytes(part) / tokens:.3f}")
        found.append((name, f"{passed:.1f}", *sizes))
    head = ("trainer", "seconds", "bytes a token, zh", "others")
    table(
        f"16,000 pieces from {megabytes(sample):.1f} MB, measured on the other {megabytes(unseen):.0f} MB", head, found
    )
    return models[0]


def train_plain(texts: list[str], settings: TokenizerSettings) -> bytes:
    """SentencePiece's trainer as it is, on lines."""
    model = io.BytesIO()
    lines = (
        line[start : start + 1000] for text in texts for line in text.split("\n") for start in range(0, len(line), 1000)
    )
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for line in lines if line.strip()),
        model_writer=model,
        vocab_size=settings.vocabulary_size,
        character_coverage=settings.character_coverage,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=["\n", "\t"],
        num_threads=2,
        minloglevel=2,
    )
    return model.getvalue()


def tokenizers(path: Path | None, documents: list[str]) -> None:
    """MB/s of encoding, ours warm, and SentencePiece itself."""
    model = path.read_bytes() if path is not None else trained(documents)
    tokenizer, bare = Tokenizer(model), sentencepiece.SentencePieceProcessor(model_proto=model)
    found = []
    for name, part in (
        ("zh", [text for text in documents if is_chinese(text)]),
        ("others", [text for text in documents if not is_chinese(text)]),
    ):
        array = pa.array(part, pa.string())
        ours = least_seconds(lambda part=part: tokenizer.encode(part))
        theirs = least_seconds(lambda part=part: bare.encode(part, num_threads=1, out_type="numpy"))
        size = array.nbytes / 1e6
        found.append((name, f"{size / ours:.1f}", f"{size / theirs:.1f}", f"{theirs / ours:.2f}"))
    table("tokenizer, MB/s", ("documents", "glmdata", "SentencePiece", "ratio"), found)


if __name__ == "__main__":
    main()
