"""report.html: what it says, that it needs nothing else, and that no text of a corpus gets out of its place."""

import json
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from building import SPEED, run
from commands import glmdata
from corpora import document, write_jsonl

from glmdata.samples import SampleReader
from glmdata.shards.manifest import Manifest
from glmdata.shards.reader import Shards
from glmdata.shards.verify import verify

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><style>body{display:none}</style>{{ 7 * 7 }}"
VOID = {"meta", "br", "hr"}
MAX_BYTES = 1 << 20
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """The elements of a page with their text; fails where one is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.stack: list[int] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(tag)
            self.stack.append(len(self.found) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        for place in self.stack:
            self.found[place][2].append(data)

    def texts(self, tag: str, kind: str | None = None) -> list[str]:
        return [
            "".join(text)
            for name, attributes, text in self.found
            if name == tag and (kind is None or kind in (attributes.get("class") or "").split())
        ]


def section(text: str, name: str) -> str:
    return re.search(rf'<section id="{name}">.*?</section>', text, re.DOTALL)[0]


def numbers(text: str) -> list[int]:
    return [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", text)]


@pytest.fixture(scope="module", params=["concat", "segments"])
def built(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    run(corpus, out, f"packing={request.param}")
    return out


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build whose texts, file names and refused records try to be HTML."""
    folder = tmp_path_factory.mktemp("hostile")
    texts = [f"{HOSTILE} {document('en', i, 5)} {HOSTILE}" for i in range(40)]
    texts += [f"{document('zh', i)}<b onclick=alert(1)>\u202e\x1b[0m" for i in range(40)]
    write_jsonl(folder / "corpus" / "<img src=x onerror=alert(1)>" / "a&b.jsonl", texts)
    (folder / "corpus" / "<script>alert(2)<").mkdir()
    (folder / "corpus" / "<script>alert(2)<" / "x.jsonl").write_text('{"text": <script>\n{"text": 5}\n')
    run(folder / "corpus", folder / "out", "normalization.control_characters=keep")
    return folder / "out"


def test_the_page_needs_nothing_but_itself(built: Path, hostile: Path) -> None:
    for build in (built, hostile):
        data = (build / "report.html").read_bytes()
        page = Page(data.decode())
        assert len(data) < MAX_BYTES
        tags = {tag for tag, _, _ in page.found}
        assert not tags & {"script", "img", "link", "iframe", "object", "embed", "form", "base", "b", "image", "use"}
        for _, attributes, _ in page.found:
            assert not [name for name in attributes if name.startswith("on") or name in ("src", "xlink:href", "action")]
            assert attributes.get("href", "#").startswith("#")
        assert "default-src 'none'" in data.decode()
        assert not re.search(r"url\(|@import", data.decode().partition("</style>")[0])


def test_the_funnel_is_that_of_the_ledger(built: Path) -> None:
    report = json.loads((built / "report.json").read_text())
    told = section((built / "report.html").read_text(), "records")
    page = Page(told)
    lost = [number for cell in page.texts("td", "loss") for number in numbers(cell)]
    assert sorted(lost) == sorted(count for name, count in report["outcomes"].items() if name != "kept" and count)
    assert report["records_in"] - sum(lost) == report["outcomes"]["kept"]
    left = [int(cell.replace(",", "")) for cell in page.texts("td", "left")]
    assert left[0] == report["records_in"]
    assert left[-2:] == [report["outcomes"]["kept"]] * 2
    assert [before - after for before, after in pairwise(left[:-1])] == lost
    for refused in report["quarantined"]:
        assert refused["first"] in page.texts("td", "name")
    assert len(report["quarantined"]) > 1


def test_languages_and_sources_are_told_before_and_after(built: Path) -> None:
    report = json.loads((built / "report.json").read_text())
    told = section((built / "report.html").read_text(), "shares")
    for code, tokens in report["tokens"].items():
        assert f">{tokens:,}<" in told
        assert f">{code}<" in told
    for name in ("zh/a.jsonl", "zh/b.jsonl.gz", "en/c.txt", "en/d.parquet"):
        assert f">{name}<" in told


def test_samples_are_shown_with_their_spans(built: Path) -> None:
    page = Page(section((built / "report.html").read_text(), "twenty"))
    titles = page.texts("h3")
    assert len(titles) == min(20, Manifest.load(built).rows)
    reader = SampleReader(Shards(built))
    samples = [reader.read(numbers(title)[0]) for title in titles]
    spans = [(span.text, span.place + 1) for one in samples for part in one.parts for span in part.spans]
    assert [f"{text}{place}" for text, place in spans] == page.texts("mark")
    assert len(page.texts("div", "text")) == sum(len(sample.parts) for sample in samples)


def test_text_of_the_corpus_stays_text(hostile: Path) -> None:
    text = (hostile / "report.html").read_text()
    page = Page(text)
    assert any("onerror" in found for found in page.texts("div", "text"))
    assert any("<img src=x onerror=alert(1)>/a&b.jsonl" in found for found in page.texts("td", "name"))
    assert any("<script>alert(2)</x.jsonl" in found for found in page.texts("td", "name"))
    assert "{{ 7 * 7 }}" in text
    assert not set(text) & {"\u202e", "\x1b"}


def test_the_page_is_a_function_of_the_build_but_for_the_seconds(corpus: Path, tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("other", 2)):
        run(corpus, tmp_path / name, workers=workers)
    pages = [(tmp_path / name / "report.html").read_bytes() for name in ("one", "other")]
    assert len(SPEED.findall(pages[0])) == 1
    assert SPEED.sub(b"", pages[0]) == SPEED.sub(b"", pages[1])


def test_it_is_no_part_of_the_build_and_is_made_again(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(corpus, out)
    path, manifest = out / "report.html", (out / "manifest.json").read_bytes()
    page = path.read_bytes()
    assert "report.html" not in manifest.decode()
    path.unlink()
    assert list(verify(out)) == []
    assert run(corpus, out).already_there
    assert path.read_bytes() == page
    path.write_text("old")
    done = glmdata("report", out)
    assert (done.returncode, done.stdout.strip()) == (0, str(path))
    assert path.read_bytes() == page
    assert json.loads(glmdata("report", out, "--json").stdout) == {"path": str(path), "bytes": len(page)}
    assert (out / "manifest.json").read_bytes() == manifest
    refused = glmdata("report", tmp_path / "nowhere")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def test_long_rows_of_characters_that_must_be_escaped_stay_below_a_megabyte(tmp_path: Path) -> None:
    texts = [document("en", i, 300).replace("e", "<&\"'") for i in range(60)]
    write_jsonl(tmp_path / "corpus" / "a.jsonl", texts)
    run(
        tmp_path / "corpus",
        tmp_path / "out",
        "sequence_length=8192",
        "balance.languages={en: 1}",
        "language.engine=scripts",
    )
    page = (tmp_path / "out" / "report.html").read_bytes()
    assert len(page) < MAX_BYTES
    assert b"more characters" in page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """Runs headless Chromium on a page with one more option."""
    if BROWSER is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    profile = tmp_path_factory.mktemp("profile")

    def look(page: Path, *options: str) -> str:
        done = subprocess.run(
            [
                *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                *(f"--user-data-dir={profile}", "--hide-scrollbars", *options, page.resolve().as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    return look


def test_a_browser_reads_it_as_it_was_meant(browser, built: Path, hostile: Path) -> None:
    for build in (built, hostile):
        dom = browser(build / "report.html", "--dump-dom")
        page = Page((build / "report.html").read_text())
        assert f"<title>{page.texts('title')[0]}</title>" in dom
        assert "owned</title>" not in dom
        assert not re.search(r"<(script|img|b)[ >]", dom)
        assert dom.count("<article") == dom.count("</article>") == len(page.texts("article"))
        assert dom.count("<mark") == len(page.texts("mark"))


def test_a_screenshot_shows_more_than_an_empty_page(browser, built: Path, tmp_path: Path) -> None:
    browser(built / "report.html", f"--screenshot={tmp_path / 'page.png'}", "--window-size=1000,1400")
    data = (tmp_path / "page.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(data[16:20], "big") == 1000
    parts, at = [], 8
    while at < len(data):  # chunks: length, kind, data, checksum
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            parts.append(data[at + 8 : at + 8 + size])
        at += size + 12
    rows = zlib.decompress(b"".join(parts))
    width = len(rows) // 1400
    drawn = sum(len(set(rows[y * width + 1 : (y + 1) * width])) > 2 for y in range(1400))
    assert drawn > 400
