"""The story of one document as a person reads it: its stages in order, where it left, and the texts behind it."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from glmdata.cli.difference import excerpt, side_by_side
from glmdata.cli.render import counted, make_console, visible
from glmdata.ledger import Entry
from glmdata.story import Story
from glmdata.text.difference import compare

__all__ = ["show_story"]

ROWS_SHOWN = 6
_LEFT_AT = {
    "quarantined": "read",
    "empty": "read",
    "language": "language",
    "exact_duplicate": "duplicates",
    "near_duplicate": "duplicates",
    "too_short": "cleaning",
    "contaminated": "cleaning",
    "balance": "balance",
    "tie": "rows",
}
"""Stage at which each outcome leaves; others leave at a stage of their own name."""
CUT = "cut: "
"""How the ledger begins what was cut from a document."""
_VARIANTS = {"hans": "simplified", "hant": "traditional"}


def show_story(folder: str, story: Story) -> None:
    """Print everything."""
    console = make_console()
    entry = story.entry
    console.print(Text.assemble((_place(entry), "bold"), "   ", (entry.document_id.hex(), "dim")), soft_wrap=True)
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    left = _LEFT_AT.get(entry.outcome, entry.outcome)
    for stage, text in _stages(story):
        gone = entry.outcome != "kept" and stage == left
        table.add_row(
            Text(stage, "bold" if gone else "dim"),
            Text.assemble((f"left here: {entry.outcome}", "bold yellow"), "; " * bool(text), text)
            if gone
            else Text(text),
        )
    console.print(table)
    for note in story.notes:
        console.print(Text.assemble(("note: ", "yellow"), visible(note)), soft_wrap=True)
    _show_texts(console, story)
    if story.rows:
        console.print(Text(f"\nSee it: glmdata inspect {folder} --sample {story.rows[0]}", "dim"), soft_wrap=True)
    if story.survivor is not None:
        told = f"\nIts survivor: glmdata why {folder} {story.survivor.document_id.hex()}"
        console.print(Text(told, "dim"), soft_wrap=True)


def _place(entry: Entry) -> str:
    return visible(entry.uri if entry.record < 0 else entry.place)


def _stages(story: Story) -> Iterator[tuple[str, str]]:
    """(stage, what is told of it), as far as the document came."""
    entry = story.entry
    yield "read", _read(story)
    if entry.outcome in ("quarantined", "empty"):
        return
    yield "language", _language(story)
    if story.recipe.finetune.task != "none":
        yield "rows", visible(entry.detail or "") or f"{counted(entry.tokens, 'token')} taken"
        yield "samples", _samples(story)
        return
    if entry.outcome == "language":
        return
    if entry.outcome not in (*_LEFT_AT, "kept"):
        yield entry.outcome, visible(entry.detail or "")
        return
    yield "duplicates", _duplicates(story)
    if story.is_duplicate:
        if story.similarity is not None and entry.outcome != "exact_duplicate":
            yield "", _alike(story)
        if story.num_repeating:
            yield "", f"the same survivor has {counted(story.num_repeating, 'other duplicate')}: {_others(story)}"
        return
    left_here = _LEFT_AT.get(entry.outcome) == "cleaning"
    if left_here or story.recipe.paragraphs.max_documents or story.recipe.decontamination.benchmarks:
        yield "cleaning", _cleaning(story)
    if left_here:
        return
    yield "balance", _balance(story)
    if entry.outcome == "kept":
        yield "samples", _samples(story)


def _read(story: Story) -> str:
    entry, refusal = story.entry, story.refusal
    if entry.outcome == "empty":
        return f"record {entry.record} of {visible(entry.uri)} holds white space or nothing"
    if entry.outcome != "quarantined":
        return f"record {entry.record} of {visible(entry.uri)}"
    told = visible(refusal.reason if refusal else entry.detail or "")
    if entry.record < 0:
        told += "; this row stands for the file, or for all that follows in it"
    if refusal is not None and refusal.byte_offset >= 0:
        told += f"; from byte {refusal.byte_offset:,}"
        told += f", {counted(refusal.byte_length, 'byte')}" if refusal.byte_length >= 0 else ""
        told += " (of the file decompressed)" if entry.uri.lower().endswith((".gz", ".zst")) else ""
    return told


def _language(story: Story) -> str:
    entry, recipe = story.entry, story.recipe
    code = entry.language or "?"
    told = f"{code} ({entry.variant}, {_VARIANTS.get(entry.variant, '')})" if entry.variant else code
    if entry.share is not None:
        told += f", {entry.share:.0%} of the letters are of its script"
    if entry.outcome != "language":
        return told
    settings, wanted = recipe.language, recipe.balance.languages
    if code not in wanted:
        told += f"; the recipe takes {', '.join(wanted)} (balance.languages)"
    else:
        score = settings.min_score_of.get(code, settings.min_score)
        share = settings.min_share_of.get(code, settings.min_share)
        told += f"; the recipe asks {code} for a share of {share:.0%} (language.min_share, min_share_of) "
        told += f"and a score of {score:.2f} (language.min_score, min_score_of)"
    return told + (f"; {visible(entry.detail)}" if entry.detail else "")


def _duplicates(story: Story) -> str:
    entry, survivor = story.entry, story.survivor
    if not story.is_duplicate:
        if not story.num_repeating:
            return "none" if story.recipe.dedupe.exact or story.recipe.dedupe.near else "not looked for"
        return f"{counted(story.num_repeating, 'duplicate')} of it left: {_others(story)}"
    where = f"; {visible(entry.detail)}" if entry.detail else ""
    if survivor is None:
        other = f" {entry.survivor_id.hex()}" if entry.survivor_id is not None else ""
        return f"its survivor{other} is not in this build{where}"
    told = f"the same text as {_place(survivor)}" if entry.outcome == "exact_duplicate" else f"like {_place(survivor)}"
    fate = "which was kept" if survivor.outcome == "kept" else f"which left later itself: {survivor.outcome}"
    return f"{told}, {fate}{where}"


def _alike(story: Story) -> str:
    assert story.similarity is not None
    settings, found = story.recipe.dedupe, story.similarity
    told = (
        f"similarity {found.true:.3f} (Jaccard, of {settings.shingle_size}-unit shingles); "
        f"estimated {found.estimated:.3f} by {settings.num_perm} permutations; "
        f"removed from {settings.jaccard_threshold:g} on"
    )
    if found.true < settings.jaccard_threshold:
        told += "; less than that: without dedupe.verify all that hang together by bands go"
    return told


def _others(story: Story) -> str:
    named = ", ".join(_place(other) for other in story.repeating)
    more = story.num_repeating - len(story.repeating)
    return named + (f" and {more:,} more" if more else "")


def _cleaning(story: Story) -> str:
    """What was cut, or why the document left; the ledger's detail of a kept one also tells of the balance."""
    detail = story.entry.detail or ""
    if _LEFT_AT.get(story.entry.outcome) == "cleaning":
        return visible(detail)
    return visible("; ".join(part for part in detail.split("; ") if part.startswith(CUT))) or "nothing cut"


def _balance(story: Story) -> str:
    entry, weights = story.entry, story.recipe.balance.languages
    ratio = " : ".join(f"{code} {weight:g}" for code, weight in weights.items())
    tokens = counted(entry.tokens, "token")
    if entry.outcome == "balance":
        return (
            f"{tokens}; {entry.language} has more text than {ratio} asks for, and a hash of the text decides which goes"
        )
    detail = "; ".join(part for part in (entry.detail or "").split("; ") if part and not part.startswith(CUT))
    return f"{tokens} taken: {visible(detail)}" if detail else f"all its {tokens} taken"


def _samples(story: Story) -> str:
    if not story.rows:
        return "in none"
    first = ", ".join(map(str, story.rows[:ROWS_SHOWN]))
    more = len(story.rows) - ROWS_SHOWN
    return f"in {counted(len(story.rows), 'row')} of {story.recipe.sequence_length} tokens: {first}" + (
        f" and {more:,} more" if more > 0 else ""
    )


def _show_texts(console: Console, story: Story) -> None:
    if story.raw is not None:
        console.print(Text("\nthe bytes", "bold"))
        excerpt(console, story.raw.decode("utf-8", "backslashreplace"))
    elif story.text is not None and story.survivor_text is not None and story.text != story.survivor_text:
        console.print()
        left, right = (
            f"this: {_place(story.entry)}",
            "survivor" + (f": {_place(story.survivor)}" if story.survivor else ""),
        )
        side_by_side(console, compare(story.text, story.survivor_text), left, right)
    elif (text := story.text or story.survivor_text) is not None:
        same = story.text is not None and story.text == story.survivor_text
        title = "the text of both" if same else "the text" if story.text is not None else "the survivor's text"
        console.print(Text(f"\n{title}", "bold"))
        excerpt(console, text)
