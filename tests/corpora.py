"""Small corpora for tests: every sentence is made up here, every outcome is planted."""

import gzip
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glmdata.randomness import purpose_key

SHARED = Path(os.environ.get("GLMDATA_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
"""Data that is not part of this repository; tests that need it skip where it is absent."""

_ZH = (
    "春天的河水慢慢变暖",
    "老木匠把桌子修好了",
    "孩子们在院子里数星星",
    "这本书讲的是一座旧桥",
    "她每天早上给窗台上的花浇水",
    "火车晚了二十分钟才进站",
    "我们用三种颜色画了一张地图",
    "山顶的雪到六月还没有化",
    "他把信折好放进抽屉",
    "厨房里飘来新米的香味",
    "图书馆的灯一直亮到十点",
    "小店的老板记得每个人的名字",
)
_EN = (
    "The ferry leaves the harbour at seven",
    "my grandmother kept buttons in a tin",
    "a good map shows what it leaves out",
    "rain drummed on the roof of the shed",
    "the baker counts loaves before dawn",
    "our dog learned to open the gate",
    "she wrote three letters and sent none",
    "old clocks disagree about midnight",
    "the bridge was painted green again",
    "nobody remembered who planted the pear tree",
    "we measured the room with a piece of string",
    "the teacher drew a circle without a compass",
)


QUESTION = "如果一列火车每小时行驶六十公里，从甲地到乙地需要四个小时，那么两地之间的距离是多少公里？"
RIDDLE = "A farmer has seventeen sheep, and all but nine of them run away during the night; how many are left?"
"""A question of a benchmark in either language."""


def number(name: str, place: int) -> int:
    """A fixed pseudo-random number."""
    return int(purpose_key(place, name))


def document(language: str, index: int, sentences: int = 8) -> str:
    """Document `index` of a language: sentences in an order of its own, with numbers, so that none are alike."""
    parts = []
    for place in range(sentences):
        drawn = number(f"{language} {index}", place)
        first, second = drawn % 12, drawn // 12 % 12
        if language == "zh":
            parts.append(f"{_ZH[first]}，{_ZH[second]}，一共{drawn // 144 % 977}次。")
        else:
            parts.append(f"{_EN[first].capitalize()}, and {_EN[second]} {drawn // 144 % 977} times. ")
        if drawn // 144000 % 4 == 0:
            parts.append("\n")
    return "".join(parts).strip()


def write_jsonl(path: Path, texts: list[str]) -> None:
    """One object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def write_texts(folder: Path, files: Mapping[str, list[str]]) -> Path:
    """A file of JSON lines for each name; the folder."""
    for name, texts in files.items():
        write_jsonl(folder / name, texts)
    return folder


def write_corpus(folder: Path, documents: int = 60) -> None:
    """About 2.5 documents of English to one of Chinese, in four formats, with one of each outcome planted."""
    zh = [document("zh", index) for index in range(documents)]
    en = [document("en", index, 10) for index in range(documents * 2)]
    write_jsonl(folder / "zh" / "a.jsonl", [*zh[: documents // 2], zh[3], zh[4].replace("次。", "回。", 1)])
    write_jsonl(folder / "zh" / "b.jsonl.gz", zh[documents // 2 :])
    (folder / "en").mkdir(exist_ok=True)
    (folder / "en" / "c.txt").write_text(
        "\n\n".join(text.replace("\n", " ") for text in en[:documents]) + "\n", "utf-8"
    )
    pq.write_table(pa.table({"text": [*en[documents:], None, en[documents].upper()]}), folder / "en" / "d.parquet")
    (folder / "bad.jsonl").write_bytes(
        b'{"text": "no end\n{"text": 5}\n{"text": " "}\n{"text": "\xff"}\n'
        + json.dumps({"text": "春の川はゆっくりと暖かくなり、子供たちは庭で星を数えていました。"}).encode()
    )


def labelled_texts() -> list[dict[str, str]]:
    """Every fourth text with its language, from the data beside the repository."""
    path = SHARED / "language" / "labelled.jsonl"
    if not path.exists():
        pytest.skip(f"no labelled texts at {path}; set GLMDATA_SHARED_DATA")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines][::4]
