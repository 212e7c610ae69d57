"""Scripts are counted as Unicode says, languages are told apart, and every engine gives the same answer always."""

import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from corpora import labelled_texts
from hypothesis import given
from hypothesis import strategies as st

from glmdata.errors import ConfigError
from glmdata.pipelines.sign import _wanted
from glmdata.recipe import LanguageSettings
from glmdata.text.chinese import SIMPLIFIED, TRADITIONAL
from glmdata.text.language import ENGINES, LanguageGuess, identify, identify_array, identify_columns
from glmdata.text.latin import weigh
from glmdata.text.scripts import SCRIPTS, letter_counts, script_counts, utf8_buffers

# Names of Unicode's characters begin with their script; the data behind them are not those of the kernel's table.
NAME_PREFIXES = {
    **{script.upper(): script for script in SCRIPTS if script not in {"han", "other_letter"}},
    "CJK UNIFIED": "han",
    "CJK COMPATIBILITY IDEOGRAPH": "han",
    "FULLWIDTH LATIN": "latin",
    "HALFWIDTH KATAKANA": "katakana",
    "HALFWIDTH HANGUL": "hangul",
}
LETTERS = "aZéßŁ中国〇𠮷あゖア한글дЙαΩبשअবਅઅଅஅఅಅഅඅกກཀကაአកᠠա𐌰"


def script_of(character: str) -> str | None:
    """Script by the character's name; None where it is no letter."""
    if character == "〇":
        return "han"
    if unicodedata.category(character)[0] != "L":
        return None
    name = unicodedata.name(character, "")
    return next((script for prefix, script in NAME_PREFIXES.items() if name.startswith(prefix)), "other_letter")


def plain_counts(text: str) -> list[int]:
    scripts = [script_of(c) for c in text]
    return [scripts.count(script) for script in SCRIPTS]


@pytest.mark.parametrize("character", LETTERS)
def test_a_letter_counts_for_its_script(character: str) -> None:
    assert script_counts(pa.array([character])).tolist() == [plain_counts(character)]
    assert script_counts(pa.array([character])).sum() == 1


def test_the_basic_plane_is_counted_as_the_names_of_its_characters_say() -> None:
    """All but modifier letters, whose names do not tell their script; so it is with some thirty others."""
    characters = [chr(c) for c in range(0x10000) if unicodedata.category(chr(c)) not in {"Cs", "Cn", "Lm"}]
    columns = {script: column for column, script in enumerate(SCRIPTS)}

    counts = script_counts(pa.array(characters))

    expected = np.zeros_like(counts)
    for row, character in zip(expected, characters, strict=True):
        if (script := script_of(character)) is not None:
            row[columns[script]] = 1
    differing = [
        f"{ord(c):04X}" for c, a, b in zip(characters, counts, expected, strict=True) if a.tolist() != b.tolist()
    ]
    assert len(differing) <= 40, differing


@given(
    st.lists(st.text(st.sampled_from(LETTERS + " .1\n，😀"), max_size=90), max_size=5),
    st.integers(0, 2),
)
def test_counts_equal_the_plain_code_in_slices_and_with_nulls(texts: list[str], skip: int) -> None:
    array = pa.array([*["skipped"] * skip, *texts, None], pa.string()).slice(skip)

    counts = script_counts(array)

    assert counts.tolist() == [*[plain_counts(t) for t in texts], [0] * len(SCRIPTS)]
    assert counts.dtype == np.int64


@given(st.lists(st.text(st.sampled_from("国國这這后中a。 "), max_size=90), max_size=5))
def test_characters_of_either_chinese_are_counted_and_are_han(texts: list[str]) -> None:
    counts, variants = letter_counts(pa.array(texts, pa.string()))

    assert variants.tolist() == [[sum(c in table for c in t) for table in (SIMPLIFIED, TRADITIONAL)] for t in texts]
    assert counts.tolist() == [plain_counts(t) for t in texts]


def test_the_two_tables_of_chinese_are_those_of_the_old_character_sets() -> None:
    assert not SIMPLIFIED & TRADITIONAL
    assert all(c.encode("gb2312") for c in SIMPLIFIED)
    assert all(c.encode("big5") for c in TRADITIONAL - {"裏"})


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=120))
def test_no_text_has_more_letters_than_characters(text: str) -> None:
    assert 0 <= script_counts(pa.array([text], pa.large_string())).sum() <= len(text)


def test_buffers_are_read_only_views() -> None:
    """So that one compiled kernel serves, whatever pyarrow hands out."""
    values, offsets = utf8_buffers(pa.array(["ab", "中"]).slice(1))

    assert values[offsets[0] : offsets[1]].tobytes().decode() == "中"
    assert not values.flags.writeable
    assert not offsets.flags.writeable


LANGUAGES = {
    "zh": ["今天天气很好，我们去公园。", "今天天氣很好", "中", "佢哋而家喺邊度呀？我唔知。", "日本東京",
           "使用 Kubernetes 和 Docker 部署应用程序"],
    "ja": ["今日は天気がいいので公園へ行きます。", "カタカナ", "Linux カーネルのソースコードを読む"],
    "ko": ["오늘은 날씨가 좋아서 공원에 갑니다.", "리눅스 커널"],
    "en": ["The weather is fine today, so we are going to the park.", "This is a test of the library and its data."],
    "fr": ["Il fait beau aujourd'hui, alors nous allons au parc avec les enfants."],
    "de": ["Das Wetter ist heute schön, deshalb gehen wir in den Park."],
    "ru": ["Сегодня хорошая погода, поэтому мы идём в парк."],
    "uk": ["Сьогодні гарна погода, тому ми йдемо до парку."],
    "ar": ["الطقس جميل اليوم ولذلك سنذهب إلى الحديقة"],
    "hi": ["आज मौसम अच्छा है इसलिए हम पार्क जा रहे हैं।"],
    "el": ["Ο καιρός είναι καλός σήμερα."],
    "th": ["วันนี้อากาศดี"],
    "he": ["מזג האוויר נעים היום ולכן אנחנו הולכים לפארק"],
    "und": ["", " \n", "12345", "😀 ...", "\x00", "https://example.com/a?b=c", "ᎣᏏᏲ ᏙᎯᏧ", "ㄅㄆㄇ"],
}  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_scripts_engine_knows(language: str) -> None:
    assert [guess.language for guess in identify(LANGUAGES[language])] == [language] * len(LANGUAGES[language])


def test_a_guess_tells_the_shares_of_scripts() -> None:
    (mixed, empty) = identify(["abcd中国。1", ""])

    assert mixed == LanguageGuess(
        "zh", pytest.approx(0.6), (("latin", pytest.approx(4 / 6)), ("han", pytest.approx(2 / 6))), "hans"
    )
    assert empty == LanguageGuess("und", 0.0, ())


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("我们在这里说话。", "hans"),
        ("我們在這裡說話。", "hant"),
        ("書名是「国」這個字，誰說的？", "hant"),
        ("中文", None),
        ("今日は国へ行きます。", None),
        ("We are going to the park.", None),
    ],
)
def test_simplified_and_traditional_are_told_apart(text: str, variant: str | None) -> None:
    assert identify([text])[0].variant == variant


ENGLISH = ["Choose a colour", "Who knows?", "DON'T PANIC", "Wash your hands", "It’s raining", "Kevin and Susan",
           "Lower the brightness", "Weekly Shopping", "Nothing was stolen."]  # fmt: skip
NOT_ENGLISH = ["Rafraîchir la page", "Wähle eine Farbe", "Was ist das?", "Elige un color", "Escolha uma cor",
               "Scegli un colore", "Kies een kleur", "Tria un color", "Alege o culoare", "Pilih warna",
               "Wybierz kolor", "Vyberte barvu", "Válassz színt", "Bir renk seç", "Välj en färg", "Vælg en farve",
               "Valitse väri", "Chọn một màu", "Docker-Container der Kunden", "Il file log del server"]  # fmt: skip


def test_short_texts_in_latin_letters_are_english_or_not() -> None:
    assert [(t, g.language) for t, g in zip(ENGLISH, identify(ENGLISH), strict=True) if g.language != "en"] == []
    assert [t for t, g in zip(NOT_ENGLISH, identify(NOT_ENGLISH), strict=True) if g.language == "en"] == []


@given(
    st.text(st.sampled_from("aeéthingsoXQ' łthe la"), min_size=1, max_size=60),
    st.lists(st.tuples(st.sampled_from(["en", "fr", "az", "nl"]), st.floats(0, 1)), unique_by=lambda pair: pair[0]),
)
def test_weighing_gives_a_probability_in_any_order(line: str, proposed: list[tuple[str, float]]) -> None:
    language, probability = weigh(line, proposed)

    assert 0 < probability <= 1
    assert weigh(line, proposed[::-1]) == (language, pytest.approx(probability))


def test_columns_agree_with_guesses() -> None:
    texts = ["我們用這 Docker", "日本語です", "Hello to all of you", "", "Привет, мир", "中 한국어"]
    columns, guesses = identify_columns(pa.array(texts)), identify(texts)

    assert columns.languages == [g.language for g in guesses]
    assert columns.scores.tolist() == [g.score for g in guesses]
    assert columns.variants.tolist() == [g.variant for g in guesses] == ["hant", None, None, None, None, None]
    assert columns.shares.tolist() == pytest.approx([0.4, 1, 1, 0, 1, 1])
    assert columns.shares.dtype == np.float32
    assert identify_columns(pa.array([], pa.string())).languages == []


def test_the_recipe_says_what_counts_as_chinese_and_english() -> None:
    guesses = identify_columns(pa.array(["我們用這 Docker", "我们在这里", "The weather is fine today", "Il fait beau"]))

    def wanted(**settings: object) -> list[bool]:
        return _wanted(guesses, ("zh", "en"), LanguageSettings.model_validate(settings)).tolist()

    assert wanted() == [True, True, True, False]
    assert wanted(min_share_of={"zh": 0.5}) == [False, True, True, False]
    assert wanted(min_share=0.5) == [False, True, True, False]
    assert wanted(min_score=1.0, min_score_of={"en": 0.5}) == [False, True, True, False]
    assert wanted(min_score_of={"zh": 0.9}) == [False, True, True, False]


def test_code_and_addresses_do_not_hide_the_language() -> None:
    noise = "https://example.com/das/ist/ein/pfad <div class='x'> 0x1f == 12; " * 3
    (guess,) = identify([noise + "Il fait beau aujourd'hui, alors nous allons au parc avec les enfants de la voisine."])

    assert guess.language == "fr"


def test_a_long_document_is_judged_beyond_its_head() -> None:
    """4 MB without letters for fastText at first; the look at it is bounded."""
    french = "Nous allons au parc avec les enfants parce qu'il fait beau aujourd'hui. "
    (guess,) = identify(["0123456789 " * 100 + french * 60_000])

    assert guess.language == "fr"
    assert guess.score > 0.9


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_gives_the_same_answer_in_any_order_and_company(engine: str) -> None:
    texts = [text for some in LANGUAGES.values() for text in some] + ["a\ud800b", "a" * 5000, "x"]
    first = identify(texts, engine)

    assert identify(texts[::-1], engine)[::-1] == first
    assert [identify([text], engine)[0] for text in texts] == first
    assert all(0 <= guess.score <= 1 and guess.language for guess in first)


@pytest.mark.parametrize("engine", ENGINES)
def test_arrays_and_lists_get_the_same_answers(engine: str) -> None:
    texts = ["今天天气很好，我们去公园。", "We are going to the park today because the weather is fine.", "", "skipped"]
    array = pa.array(["before", *texts]).slice(1, 3)

    languages, scores = identify_array(array, engine)

    assert languages == ["zh", "en", "und"]
    assert scores.dtype == np.float32
    assert [(g.language, g.score) for g in identify(texts[:3], engine)] == list(
        zip(languages, scores.tolist(), strict=True)
    )


def test_no_texts_give_no_guesses() -> None:
    assert identify([]) == []


def test_an_engine_of_ones_own_is_taken() -> None:
    class Klingon:
        def identify(self, texts: pa.StringArray) -> tuple[list[str], np.ndarray]:
            return ["tlh"] * len(texts), np.ones(len(texts), np.float32)

    assert [guess.language for guess in identify(["nuqneH", "Qapla'"], Klingon())] == ["tlh", "tlh"]


def test_an_unknown_engine_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no language engine 'fastext': did you mean fasttext"):
        identify(["x"], "fastext")


def test_labelled_texts_fall_into_their_classes() -> None:
    """zh, en and other; Cantonese counts as Chinese."""

    def class_of(language: str) -> str:
        return "zh" if language[:2] == "zh" or language == "yue" else "en" if language == "en" else "other"

    rows = labelled_texts()
    right = [
        class_of(g.language) == class_of(r["lang"])
        for g, r in zip(identify([r["text"] for r in rows]), rows, strict=True)
    ]
    by_class = {
        name: [ok for ok, row in zip(right, rows, strict=True) if class_of(row["lang"]) == name]
        for name in ("zh", "en", "other")
    }

    assert np.mean(right) >= 0.995
    assert np.mean(by_class["zh"]) >= 0.999
    assert np.mean(by_class["en"]) >= 0.98
    assert np.mean(by_class["other"]) >= 0.995


def test_labelled_chinese_falls_into_its_variant() -> None:
    rows = [row for row in labelled_texts() if row["lang"] in {"zh-hans", "zh-hant"}]
    guesses = identify([row["text"] for row in rows])

    assert np.mean([f"zh-{g.variant}" == row["lang"] for g, row in zip(guesses, rows, strict=True)]) >= 0.99
