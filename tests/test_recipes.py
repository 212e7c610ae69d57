"""The recipes that come along: each loads, prints, and builds the example corpus as its model was trained."""

from pathlib import Path

import numpy as np
import pytest
from progress import Stops

from glmdata.pipelines.build import Built, build
from glmdata.pipelines.executors import choose_executor
from glmdata.recipe import Recipe, Section, load_recipe, parse_fields, recipe_names, render_recipe
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify
from glmdata.training.finetune_settings import FinetuneSettings
from glmdata.training.settings import TrainSettings

CORPUS = Path(__file__).parents[1] / "examples" / "corpus"
PRETRAINING = ("chatglm-6b", "glm", "glm-10b-chinese", "glm-130b")
NAMES = (*PRETRAINING, "cloze", "preference", "seq2seq", "sft")
# The last four are built in test_finetune.py and test_preferences.py.


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """The example corpus by each recipe."""
    folder, made = tmp_path_factory.mktemp("recipes"), {}
    for name in PRETRAINING:
        model = str(made["chatglm-6b"].folder / "tokenizer.model") if made else None
        made[name] = build(
            [str(CORPUS)],
            folder / name,
            load_recipe(name, ["tokenizer.vocabulary_size=4000"]),
            make_executor=lambda size: choose_executor("none", 2, size),
            progress=Stops(),
            tokenizer_path=model,
        )
    return made


def test_there_are_no_others() -> None:
    assert recipe_names() == sorted(NAMES)


@pytest.mark.parametrize("section", [Recipe, *Section.__subclasses__(), TrainSettings, FinetuneSettings])
def test_every_setting_says_what_it_means(section: type[Section]) -> None:
    plain = {name for name, field in section.model_fields.items() if not _is_section(field.annotation)}
    meanings = section.meanings()
    assert sorted(plain - {*meanings}) == []
    assert all(text and text == text.strip() for text in meanings.values())


def test_a_meaning_is_printed_above_its_setting() -> None:
    printed = render_recipe(load_recipe("glm")).splitlines()
    place = printed.index("sequence_length: 512")
    assert f"# {Recipe.meanings()['sequence_length']}" == printed[place - 1]


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_called_by_its_name_and_printed_as_it_is(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    (tmp_path / "mine.yaml").write_text(render_recipe(recipe))
    assert load_recipe(str(tmp_path / "mine.yaml")) == recipe


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_a_recipe_has_a_source_beside_it(name: str) -> None:
    """In the files themselves: a number stands on a line with a comment, or below one in the same block."""
    lines = (Path(__file__).parents[1] / "pipelines" / "recipes" / f"{name}.yaml").read_text().splitlines()
    for place, line in enumerate(lines):
        text = line.partition("#")[0]
        if any(character.isdigit() for character in text) and not text.startswith(("name:", "seed:")):
            block = place
            while lines[block - 1].strip() and "#" not in lines[block]:
                block -= 1
            assert "#" in lines[block], f"{name}.yaml line {place + 1}: {line}"


@pytest.mark.parametrize("name", PRETRAINING)
def test_a_recipe_builds_the_example_corpus(built: dict[str, Built], name: str) -> None:
    made = built[name]
    assert list(verify(str(made.folder))) == []
    assert made.report["rows"] > 0
    assert sum(made.report["outcomes"].values()) == made.report["records_in"]


def test_glm_130b_masks_tokens_and_ends_and_no_sentences(built: dict[str, Built]) -> None:
    made = built["glm-130b"]
    assert made.manifest["sequence_length"] == 2048
    assert made.report["samples"]["sentence"] == 0
    assert made.report["samples"]["token"] > 0
    assert made.report["samples"]["document"] > 0


def test_glm_10b_chinese_is_chinese(built: dict[str, Built]) -> None:
    assert built["glm-10b-chinese"].manifest["languages"] == ["zh"]
    assert "balance" not in built["glm-10b-chinese"].report["outcomes"]


def test_chatglm_6b_has_one_gmask_that_sop_continues(built: dict[str, Built]) -> None:
    """Text, [gMASK], the rest of what is seen; then sop and the continuation at the place of [gMASK], from 1 on."""
    shards = Shards(str(built["chatglm-6b"].folder))
    special = shards.manifest.tokenizer.special_tokens
    for number in range(shards.rows):
        row = shards.row(number)
        context, length = int(row["context_length"]), int(row["length"])
        ids = row["input_ids"]
        [place] = np.flatnonzero(ids[:context] == special["gmask"])
        assert ids[context] == special["sop"]
        assert row["target_ids"][length - 1] == special["eop"]
        assert (row["position_ids"][context:length] == place).all()
        assert row["block_position_ids"][context:length].tolist() == list(range(1, length - context + 1))
        assert not np.isin(ids[:length], [special["mask"], special["smask"]]).any()


@pytest.mark.parametrize(
    ("text", "value"), [("4e-4", 4e-4), ("1E3", 1e3), ("-2e0", -2.0), ("1.5e-3", 1.5e-3), ("2.", 2.0), ("e4", "e4")]
)
def test_numbers_with_an_exponent_are_numbers(text, value):
    found = parse_fields("--model", [f"key={text}"])["key"]
    assert found == value
    assert type(found) is type(value)
