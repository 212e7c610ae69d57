"""What a build tells of its documents, for tests of `glmdata why`."""

from pathlib import Path
from typing import Any

from building import ledger_of

from glmdata.pipelines.folder import BuildFolder
from glmdata.story import Story, tell


def with_outcome(folder: Path, outcome: str) -> list[dict[str, Any]]:
    """Its documents that had an outcome."""
    return [row for row in ledger_of(folder) if row["outcome"] == outcome]


def story(folder: Path, name: str, *corpora: Path) -> Story:
    """What is told of one, with its corpus where it was or elsewhere."""
    known = BuildFolder(folder)
    return tell(folder, name, [str(c) for c in corpora] or known.corpus_roots(), known.inputs())


def place(row: dict[str, Any]) -> str:
    """The name of a document by its place."""
    return f"{row['uri']}:{row['record']}"
