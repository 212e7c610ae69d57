"""`glmdata why`."""

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from glmdata.ledger import Entry
    from glmdata.story import Story

__all__ = ["command"]


@click.command("why", no_args_is_help=True)
@click.argument("folder", metavar="DIR")
@click.argument("name", metavar="DOCUMENT_ID|URI:RECORD")
@click.option(
    "--corpus",
    "corpora",
    multiple=True,
    metavar="URI",
    help="Where the corpus lies now, as given to build; by default where it was built from. Repeat it for each.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, texts and differences whole.")
def command(folder: str, name: str, corpora: tuple[str, ...], as_json: bool) -> None:
    """Show what happened to one document of a build, stage by stage.

    The document is named by its id (32 hex digits, or a beginning of 6 or more that no other has), or by its file and
    its number in it, as the ledger has them: web/a.jsonl:17, counted from 0; -1 is a whole file that cannot be read.
    Of a duplicate its survivor is shown, how alike the two are, and both texts side by side.
    """
    from glmdata.pipelines.folder import BuildFolder
    from glmdata.remote import without_secrets
    from glmdata.story import tell

    known = BuildFolder(folder)
    # Copying a corpus changes the times of its files, so they are held only against the place that was built from.
    inputs = {uri: (size, None if corpora else changed) for uri, (size, changed) in known.inputs().items()}
    story = tell(folder, name, corpora or known.corpus_roots(), inputs)
    if as_json:
        click.echo(json.dumps(_as_object(story), ensure_ascii=False))
        return
    from glmdata.cli.story import show_story

    show_story(without_secrets(folder), story)


def _as_object(story: "Story") -> dict[str, Any]:
    from glmdata.text.difference import compare

    found: dict[str, Any] = _entry(story.entry)
    settings = story.recipe.dedupe
    found["text"] = story.text
    found["quarantine"] = story.refusal and {
        "reason": story.refusal.reason,
        "byte_offset": story.refusal.byte_offset,
        "byte_length": story.refusal.byte_length,
        "bytes": None if story.raw is None else story.raw.decode("utf-8", "backslashreplace"),
    }
    found["language_settings"] = {
        "languages": list(story.recipe.balance.languages),
        **story.recipe.language.model_dump(mode="json"),
    }
    found["survivor"] = story.survivor and {**_entry(story.survivor), "text": story.survivor_text}
    found["similarity"] = story.similarity and {
        "estimated": round(story.similarity.estimated, 6),
        "true": round(story.similarity.true, 6),
        "threshold": settings.jaccard_threshold,
        "num_perm": settings.num_perm,
        "seed": settings.seed,
        "shingle_size": settings.shingle_size,
    }
    found["diff"] = None
    if story.text is not None and story.survivor_text is not None:
        found["diff"] = [[piece.kind, piece.text] for piece in compare(story.text, story.survivor_text)]
    found["repeating"] = {"count": story.num_repeating, "first": [_entry(other) for other in story.repeating]}
    found["rows"] = list(story.rows)
    found["notes"] = list(story.notes)
    return found


def _entry(entry: "Entry") -> dict[str, Any]:
    return {
        "document_id": entry.document_id.hex(),
        "uri": entry.uri,
        "record": entry.record,
        "outcome": entry.outcome,
        "survivor_build": entry.survivor_build,
        "survivor_id": entry.survivor_id.hex() if entry.survivor_id is not None else None,
        "language": entry.language,
        "variant": entry.variant,
        "share": None if entry.share is None else round(entry.share, 6),
        "tokens": entry.tokens,
        "detail": entry.detail,
    }
