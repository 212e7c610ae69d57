"""A second look at short texts in Latin script, where lid.176 is weak: below 20 characters it finds 90 % of English.

The languages that fastText proposes are weighed again: its log probability, plus evidence of each word. A word in the
table of a language speaks for that language, a word in no table for or against English by its letters and its ending
("-ing", "-ght" against "-zione", "-eren", "ł"), a title in capitals for English. Evidence adds up as log odds; its
weights are round numbers set by hand, the tables are `glmdata.text.latin_words`.
"""

import functools
import math
import re
from collections.abc import Sequence

from glmdata.text.latin_words import ENGLISH_LOANS, ENGLISH_NAMES, ENGLISH_ONLY, ENGLISH_WORDS, WORDS

__all__ = ["SECOND_LOOK_CHARACTERS", "weigh"]

SECOND_LOOK_CHARACTERS = 160
"""Longer lines of letters are left to fastText."""

# Log odds.
_WORD = 2.5
_ENGLISH_ONLY, _ENGLISH_WORD, _ENGLISH_LOAN, _ENGLISH_NAME = 3.0, 2.0, 0.7, 1.0
_FOREIGN_LETTER = -2.0
_NAME = 0.3  # times the weight by shape of a word that begins with a capital, after the first
_TITLE = 1.0  # English alone capitalises all words of a heading
_WITHOUT_TABLE = -1.0  # lid.176 has a hundred rarer languages, many of them trained on lists of names
_LEAST_PROBABILITY = 0.003  # that fastText may give a language with a table
_FASTTEXT = 0.8  # weight of its log probability, which is sure of itself beyond reason on a word or two

_ENDINGS = {
    "ing": 2.0, "ings": 2.0, "ed": 0.7, "ly": 1.5, "ness": 2.0, "ful": 2.0, "less": 2.0, "ship": 1.5, "able": 0.5,
    "ible": 0.3, "ity": 1.2, "ies": 1.2, "ied": 1.5, "ght": 2.0, "ck": 0.8, "cks": 1.0, "sh": 1.0, "th": 1.0,
    "ths": 1.0, "ty": 1.0, "ry": 1.0, "cy": 1.0, "gy": 1.0, "phy": 1.0, "y": 0.5, "ous": 1.2, "ers": 0.7, "ors": 0.7,
    "tion": 0.5, "tions": 0.7, "sion": 0.5, "ive": 0.8, "ize": 1.5, "izer": 1.5, "ise": 0.4, "ate": 0.5, "ates": 1.0,
    "ss": 0.8, "ee": 0.5, "ow": 1.0, "ows": 1.2, "ew": 1.0, "ay": 1.0, "ays": 1.2, "ey": 1.0, "ism": 0.5, "'s": 1.5,
    "'t": 2.5, "'ll": 3.0, "'re": 3.0, "'ve": 3.0, "'m": 2.0, "'d": 1.0, "dge": 1.5, "ure": 0.3, "ect": 0.8,
    "ark": 0.5, "ace": 0.4, "ance": 0.4, "ence": 0.4, "ments": 0.3, "ock": 1.2, "ook": 1.0, "a": -1.2, "o": -1.0,
    "i": -1.0, "u": -0.8, "os": -1.0, "as": -0.6, "ar": -0.5, "ir": -0.8, "en": -0.7, "ung": -2.0, "ungen": -2.5,
    "keit": -3.0, "heit": -3.0, "lich": -3.0, "liche": -3.0, "isch": -3.0, "ische": -3.0, "eur": -2.0, "eurs": -2.0,
    "eux": -2.5, "ique": -2.0, "iques": -2.5, "aire": -2.0, "mente": -2.5, "dad": -2.0, "zione": -3.0, "zioni": -3.0,
    "are": -1.0, "ere": -0.8, "ire": -0.5, "eren": -2.5, "eert": -3.0, "eer": -1.5, "aan": -2.0, "ijk": -3.0,
    "lijk": -3.0, "ije": -2.0, "je": -1.2, "kan": -2.0, "nya": -2.5, "lah": -1.5, "an": -0.4, "ak": -0.6, "k": -0.3,
    "z": -0.7, "j": -1.5, "ul": -0.8, "ului": -3.0, "lor": -1.0, "ia": -1.0, "ja": -1.5, "ek": -0.8, "ska": -1.5,
    "ner": -0.3, "ler": -0.7, "lar": -0.8, "ez": -1.0, "eau": -2.0, "elle": -1.2, "ette": -1.0, "q": -0.5, "et": -0.3,
    "am": -0.2, "em": -0.2, "im": -0.4, "um": -0.3, "ou": -0.6, "you": 1.0, "aj": -2.0, "ej": -2.0, "te": -0.3,
    "ne": -0.2, "de": -0.2,
}  # fmt: skip
_PARTS = (
    ("ough", 2.0), ("wh", 1.0), ("sch", -1.5), ("ij", -1.5), ("aa", -1.2), ("uu", -1.2), ("cz", -2.0), ("sz", -2.0),
    ("kt", -0.8), ("ks", -0.4), ("gj", -1.5), ("kj", -1.5), ("lj", -1.0), ("nj", -1.0), ("oe", -0.3), ("sk", -0.4),
    ("th", 0.5), ("sh", 0.5), ("ea", 0.5), ("gh", 0.5), ("ck", 0.3), ("zz", -0.3), ("ii", -1.0),
)  # fmt: skip
_LONGEST_ENDING = max(map(len, _ENDINGS))
_MOST_BY_SHAPE = 2.5

_AFTER_APOSTROPHE = re.compile(r"(?<=')")


def weigh(line: str, proposed: Sequence[tuple[str, float]]) -> tuple[str, float]:
    """The likeliest language of a line of Latin letters and its probability, given fastText's proposals.

    `proposed`: (label, probability), only languages written in Latin letters. English is always weighed.
    Example: "List all tags", proposed az 0.11, sw 0.07, en 0.05 -> ("en", 0.99).
    """
    evidence = word_evidence(line)
    floor = _FASTTEXT * math.log(_LEAST_PROBABILITY)
    totals = {"en": floor}
    for label, probability in proposed:
        prior = 0.0 if label in WORDS or label == "en" else _WITHOUT_TABLE
        totals[label] = max(_FASTTEXT * math.log(max(probability, 1e-6)), floor) + prior
    for label, weight in evidence.items():
        totals[label] = totals.get(label, floor) + weight
    best = max(totals, key=lambda label: (totals[label], label))
    return best, 1.0 / sum([math.exp(total - totals[best]) for total in totals.values()])


def word_evidence(line: str) -> dict[str, float]:
    """Log odds that the words of a line add to languages; negative ones, against English, only for "en"."""
    lexicon = _lexicon()
    found = {"en": 0.0}
    tokens = [token for token in (part.strip("'") for part in line.split()) if token]
    for place, token in enumerate(tokens):
        word = token.lower()
        known = lexicon.get(word, ())
        if not known and "'" in word:
            known = tuple(evidence for part in _AFTER_APOSTROPHE.split(word) for evidence in lexicon.get(part, ()))
        if known:
            for label, weight in known:
                found[label] = found.get(label, 0.0) + weight
        elif not _is_identifier(token):
            # A name in the middle of a sentence tells little of the language around it.
            found["en"] += _shape(word) * (_NAME if place and token[0].isupper() else 1.0)
    if len(tokens) >= 3 and all(token[0].isupper() for token in tokens) and not line.isupper():
        found["en"] += _TITLE
    return found


def _is_identifier(token: str) -> bool:
    """A letter alone, or like PNM, WebP, stdIn: no word of any language. Long words in capitals are words."""
    if len(token) == 1:
        return True
    return not (token.islower() or token.istitle() or (token.isupper() and len(token) > 5))


def _shape(word: str) -> float:
    """Log odds for English of a word that is in no table."""
    if not word.isascii():
        return _FOREIGN_LETTER
    weight = 0.0
    for length in range(min(_LONGEST_ENDING, len(word) - 1), 0, -1):
        if (ending := _ENDINGS.get(word[-length:])) is not None:
            weight = ending
            break
    for part, value in _PARTS:
        if part in word:
            weight += value
    return max(-_MOST_BY_SHAPE, min(_MOST_BY_SHAPE, weight))


@functools.cache
def _lexicon() -> dict[str, tuple[tuple[str, float], ...]]:
    """Each word of the tables to the languages it speaks for and its weight."""
    lexicon: dict[str, list[tuple[str, float]]] = {}
    for language, words in WORDS.items():
        for word in words:
            lexicon.setdefault(word, []).append((language, _WORD))
    english = dict.fromkeys(ENGLISH_NAMES, _ENGLISH_NAME)
    english |= dict.fromkeys(ENGLISH_WORDS, _ENGLISH_WORD) | dict.fromkeys(ENGLISH_ONLY, _ENGLISH_ONLY)
    english |= dict.fromkeys(ENGLISH_LOANS, _ENGLISH_LOAN)
    for word, weight in english.items():
        lexicon.setdefault(word, []).append(("en", weight))
    return {word: tuple(languages) for word, languages in lexicon.items()}
