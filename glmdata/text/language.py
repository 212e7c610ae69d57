"""The language of a text.

The default engine counts letters by script (`glmdata.text.scripts`), which settles Chinese, Japanese, Korean, Thai and
every other language with a script of its own; texts in a script that languages share (Latin, Cyrillic, Arabic, ...)
go to fastText's lid.176 (`glmdata.text.lid176`), and short ones in Latin script are looked at again, word by word
(`glmdata.text.latin`). Method, figures and limits: docs/language.md.

An engine is any object with the `identify` method of `Engine`; one of your own can be passed where a name is.
"""

import difflib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from glmdata.errors import ConfigError
from glmdata.text import latin
from glmdata.text.chinese import variant_names
from glmdata.text.english import surely_english
from glmdata.text.lid176 import Excerpts, predict
from glmdata.text.scripts import SCRIPTS, letter_counts, script_counts

__all__ = [
    "ENGINES",
    "UNDETERMINED",
    "Engine",
    "FasttextEngine",
    "LangdetectEngine",
    "LanguageColumns",
    "LanguageGuess",
    "ScriptsEngine",
    "identify",
    "identify_array",
    "identify_columns",
]

UNDETERMINED = "und"
"""The language of a text without letters, or of which an engine can tell nothing (ISO 639-2)."""

Guesses = tuple[list[str], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class LanguageGuess:
    """What a text is taken for.

    `language`: ISO 639-1 where there is such a code ("zh", "en"; Cantonese is zh), else fastText's own, or "und".
    `score`: 0 to 1, the engine's confidence. `shares`: (script, share of the letters), greatest first, without zeros.
    `variant`: of Chinese "hans" (simplified) or "hant" (traditional), None where the text does not tell.
    """

    language: str
    score: float
    shares: tuple[tuple[str, float], ...]
    variant: str | None = None


@dataclass(frozen=True, slots=True)
class LanguageColumns:
    """What n texts are taken for, in columns.

    `languages`, `scores` (float32[n]) and `variants` (n times "hans", "hant" or None) as in `LanguageGuess`.
    `shares`: float32[n], share of the text's letters that are of the scripts its language is written in.
    """

    languages: list[str]
    scores: NDArray[np.float32]
    shares: NDArray[np.float32]
    variants: NDArray[np.object_]


class Engine(Protocol):
    """One way of telling languages: a pure function of each text, whatever stands beside it."""

    def identify(self, texts: pa.StringArray) -> Guesses:
        """Language code and score (float32, 0 to 1) of each text."""
        ...


def identify(texts: Sequence[str] | pa.StringArray, engine: str | Engine = "scripts") -> list[LanguageGuess]:
    """Guess the language of each text. Raises ConfigError if `engine` names none of `ENGINES`."""
    array = _as_array(texts)
    languages, scores = identify_array(array, engine)
    counts, variant_counts = letter_counts(array)
    variants = _variants(languages, variant_counts)
    shares: list[list[tuple[str, float]]] = [[] for _ in languages]
    totals = counts.sum(axis=1).tolist()
    rows, columns = np.nonzero(counts)
    order = np.lexsort((columns, -counts[rows, columns], rows))
    for row, column, count in zip(
        rows[order].tolist(), columns[order].tolist(), counts[rows, columns][order].tolist(), strict=True
    ):
        shares[row].append((SCRIPTS[column], count / totals[row]))
    return [
        LanguageGuess(language, score, tuple(share), variant)
        for language, score, share, variant in zip(languages, scores.tolist(), shares, variants, strict=True)
    ]


def identify_array(texts: pa.StringArray, engine: str | Engine = "scripts") -> Guesses:
    """Language codes and scores (float32[n]) of an Arrow array; as `identify`, without an object for each text."""
    if not isinstance(engine, str):
        return engine.identify(texts)
    if engine not in ENGINES:
        hint = difflib.get_close_matches(engine, ENGINES, 1)
        raise ConfigError(
            f"no language engine {engine!r}: "
            + (f"did you mean {hint[0]}?" if hint else f"there are {', '.join(ENGINES)}")
        )
    return ENGINES[engine]().identify(texts)


def identify_columns(texts: pa.StringArray, engine: str | Engine = "scripts") -> LanguageColumns:
    """As `identify_array`, with the shares and the variants of Chinese beside it."""
    counts, variant_counts = letter_counts(texts)
    languages, scores = _by_script(texts, counts) if engine == "scripts" else identify_array(texts, engine)
    codes = np.array(languages, dtype=object)
    own = np.zeros(len(languages), np.int64)
    for language in dict.fromkeys(languages):
        mine = np.flatnonzero(codes == language)
        own[mine] = counts[mine][:, _columns_of(language)].sum(axis=1)
    shares = (own / np.maximum(counts.sum(axis=1), 1)).astype(np.float32)
    return LanguageColumns(languages, scores, shares, _variants(languages, variant_counts))


def _variants(languages: list[str], counts: NDArray[np.int64]) -> NDArray[np.object_]:
    names = variant_names(counts)
    names[np.array([language != "zh" for language in languages], bool)] = None
    return names


def _as_array(texts: Sequence[str] | pa.StringArray) -> pa.StringArray:
    if isinstance(texts, pa.Array):
        return texts
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:  # lone surrogates, which no Arrow string can hold
        return pa.array([text.encode("utf-8", "replace") for text in texts], pa.binary()).cast(pa.string())


# --- by script -------------------------------------------------------------------------------------------------------

# A Han character stands for about three Latin letters: translations into English have about three times as many. At 3
# a page that is a quarter Han and three quarters code names is Chinese; the labelled corpus calls such pages mixed from
# 0.15 to 0.5 and English below. Kana and Hangul are syllables: two letters.
_LETTER_WEIGHTS = np.array([{"han": 3.0, "hiragana": 2.0, "katakana": 2.0, "hangul": 2.0}.get(s, 1.0) for s in SCRIPTS])
# Least share of kana in Japanese (kana / kana and Han): the labelled Japanese begins at 0.22, Chinese ends at 0.
_KANA_SHARE = 0.12

_LANGUAGE_OF_SCRIPT = {
    "hangul": "ko", "greek": "el", "gurmukhi": "pa", "gujarati": "gu", "oriya": "or", "tamil": "ta", "telugu": "te",
    "kannada": "kn", "malayalam": "ml", "sinhala": "si", "thai": "th", "lao": "lo", "tibetan": "bo", "myanmar": "my",
    "georgian": "ka", "ethiopic": "am", "khmer": "km", "mongolian": "mn", "armenian": "hy",
}  # fmt: skip

# Which of lid.176's labels are written in a script that languages share (its training text is Wikipedia and Tatoeba).
_WRITTEN_IN = {
    "cyrillic": "av az ba be bg bxr ce cv kk krc kv ky lez mhr mk mn mrj myv os ru rue sah sr tg tt tyv uk uz xal",
    "arabic": "ar arz azb ckb fa lrc mzn pnb ps sd ug ur",
    "hebrew": "he yi",
    "devanagari": "bh dty gom hi mai mr ne new sa",
    "bengali": "as bn bpy",
    "other_letter": "dv",  # Thaana; of other scripts lid.176 knows nothing, whatever it answers
}
_LABELS = {script: frozenset(labels.split()) for script, labels in _WRITTEN_IN.items()}
_LATIN_TOO = {"az", "sr", "uz"}
_NEVER_LATIN = (
    frozenset().union(*_LABELS.values(), _LANGUAGE_OF_SCRIPT.values(), ("ja", "wuu", "xmf", "yue", "zh")) - _LATIN_TOO
)


def _columns_of(language: str) -> list[int]:
    """Columns of `SCRIPTS` that a language is written in."""
    if language == UNDETERMINED:
        return []
    han = {"zh": ["han"], "ja": ["han", "hiragana", "katakana"], "ko": ["hangul", "han"]}.get(language, [])
    alone = [script for script, code in _LANGUAGE_OF_SCRIPT.items() if code == language and code != "ko"]
    shared = [script for script, labels in _LABELS.items() if language in labels]
    scripts = han + alone + shared + (["latin"] if language in _LATIN_TOO else [])
    return [SCRIPTS.index(script) for script in scripts or ["latin"]]


_EXCERPT_BYTES, _LONGER_EXCERPT_BYTES = 300, 700
_MOSTLY = 0.75  # least share of Latin letters where English words decide: other texts hold a second language
_UNSURE = 0.8  # below it a longer text is looked at again, at greater length


class ScriptsEngine:
    """Scripts first; English by its words; fastText only among the languages that share a script.

    The score of a language with its own script is the weighted share of that script in the letters, else that share
    times fastText's probability or, for short Latin text, that of `glmdata.text.latin`; of English that its words
    settle (`glmdata.text.english`) that share.
    """

    def identify(self, texts: pa.StringArray) -> Guesses:
        """See `Engine`."""
        return _by_script(texts, script_counts(texts))


def _by_script(texts: pa.StringArray, counts: NDArray[np.int64]) -> Guesses:
    """What `ScriptsEngine` answers, given `script_counts`."""
    weighted = counts * _LETTER_WEIGHTS
    han, kana = weighted[:, :1], weighted[:, 1:3].sum(axis=1, keepdims=True)
    groups = np.concatenate([han + kana, weighted[:, 3:]], axis=1)  # column 0: Chinese or Japanese; c: script c + 2
    winners = groups.argmax(axis=1)
    scores = groups.max(axis=1) / np.maximum(groups.sum(axis=1), 1)
    kana_count = counts[:, 1:3].sum(axis=1)
    japanese = kana_count >= np.maximum(_KANA_SHARE * (kana_count + counts[:, 0]), 1)

    names = np.array(["", *(_LANGUAGE_OF_SCRIPT.get(script, "") for script in SCRIPTS[3:])], dtype=object)
    languages = names[winners]
    languages[winners == 0] = np.where(japanese[winners == 0], "ja", "zh")
    languages[groups.max(axis=1) == 0] = UNDETERMINED
    latin_rows = np.flatnonzero((winners == SCRIPTS.index("latin") - 2) & (scores >= _MOSTLY))
    languages[latin_rows[surely_english(texts, latin_rows)]] = "en"
    shared = np.flatnonzero(languages == "")
    if len(shared):
        excerpts = Excerpts(texts)
        for i in shared.tolist():
            script = SCRIPTS[winners[i] + 2]
            languages[i], probability = _among(script, excerpts.letters(i, _EXCERPT_BYTES))
            if probability < _UNSURE and excerpts.num_bytes(i) > 2 * _EXCERPT_BYTES:
                languages[i], probability = _among(script, excerpts.letters(i, _LONGER_EXCERPT_BYTES))
            scores[i] *= probability
    return languages.tolist(), scores.astype(np.float32)


def _among(script: str, letters: str) -> tuple[str, float]:
    """The likeliest language that is written in `script`, and its probability."""
    again = script == "latin" and len(letters) <= latin.SECOND_LOOK_CHARACTERS
    for k in (10,) if again else (3, 20):  # time grows with k; one of the first 3 nearly always fits
        proposed = predict(letters, k)
        if script == "latin":
            fitting = [(label, probability) for label, probability in proposed if label not in _NEVER_LATIN]
        else:
            fitting = [(label, probability) for label, probability in proposed if label in _LABELS[script]]
        if again and letters:
            return latin.weigh(letters, fitting)
        if fitting:
            return fitting[0]
    return UNDETERMINED, 0.0


# --- engines of others -----------------------------------------------------------------------------------------------

_HEAD_BYTES, _LANGDETECT_HEAD_BYTES = 4096, 16384
_CHINESE = {"wuu", "yue", "zh-cn", "zh-tw"}


class FasttextEngine:
    """fastText's lid.176 alone, on the beginning of the text as it stands."""

    def identify(self, texts: pa.StringArray) -> Guesses:
        """See `Engine`."""
        excerpts = Excerpts(texts)
        heads = (excerpts.raw(i, _HEAD_BYTES).replace("\n", " ").strip() for i in range(len(texts)))
        return _unzip([(predict(head, 1) or [(UNDETERMINED, 0.0)])[0] for head in heads])


_langdetect_lock = threading.Lock()


class LangdetectEngine:
    """langdetect, seeded, so that a text always gets the same answer; some hundred texts a second."""

    def identify(self, texts: pa.StringArray) -> Guesses:
        """See `Engine`."""
        import langdetect
        from langdetect import detector_factory

        with _langdetect_lock:  # langdetect keeps its profiles in a global
            langdetect.DetectorFactory.seed = 0
            detector_factory.init_factory()
        excerpts = Excerpts(texts)
        return _unzip([_langdetect(excerpts.raw(i, _LANGDETECT_HEAD_BYTES)) for i in range(len(texts))])


def _langdetect(text: str) -> tuple[str, float]:
    import langdetect

    try:
        best = langdetect.detect_langs(text)[0]
    except langdetect.LangDetectException:  # no letters
        return UNDETERMINED, 0.0
    return best.lang, min(best.prob, 1.0)


def _unzip(found: list[tuple[str, float]]) -> Guesses:
    languages = ["zh" if language in _CHINESE else language for language, _ in found]
    return languages, np.array([score for _, score in found], np.float32)


ENGINES: dict[str, type[Engine]] = {
    "scripts": ScriptsEngine,
    "fasttext": FasttextEngine,
    "langdetect": LangdetectEngine,
}
