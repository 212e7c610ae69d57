"""All edges of a component brought together, whatever the size of the graph.

spread        edges -> under both of their nodes, a record batch for each range of nodes
large-N  a range of nodes -> every larger neighbour joined to the smallest node at hand
small-N  a range of nodes -> every node and its smaller neighbours joined to the smallest of them
route         a range of nodes -> its edges, by the range of their component's root

The stars are run in turns until none of the nodes is found outside a star (glmdata.dedupe.components). Each job holds
the edges of its range alone; up to EDGES_PER_JOB edges are one range, and nothing of this is run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glmdata.dedupe.candidates import range_of
from glmdata.dedupe.components import both_directions, forest, large_star, small_star
from glmdata.pipelines.engine import Attempt, Engine, FileRef, Job, Result
from glmdata.pipelines.partitions import read_columns, read_range, write_ranges
from glmdata.randomness import mix64

__all__ = ["bring_together", "edges_of"]

EDGES_PER_JOB = 1_000_000
"""About 150 MB at work."""
MAX_EDGES_PER_JOB, MANY_JOBS = 8_000_000, 200
"""From so many jobs on they grow up to so many edges, for the reason told in glmdata.pipelines.candidates."""

_Numbers = npt.NDArray[np.uint64]
_EDGE = ("document", "better")
_STAR = ("node", "neighbour")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadArguments:
    """Some files of edges."""

    edges: tuple[FileRef, ...]
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StarArguments:
    """Range `part` of the nodes in files of stars."""

    stars: tuple[FileRef, ...]
    part: int
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteArguments:
    """Range `part` of the nodes: their edges, and the roots of those that are no roots."""

    edges: tuple[FileRef, ...]
    roots: tuple[FileRef, ...]
    part: int
    parts: int


def bring_together(engine: Engine, edges: Sequence[FileRef], num_edges: int) -> tuple[tuple[FileRef, ...], int]:
    """Run the stages; files of edges and the number of their ranges: a component lies in one range of all files.

    `edges` are written by `write_columns`; with one range they come back as they are.
    """
    parts = max(1, -(-num_edges // min(MAX_EDGES_PER_JOB, max(EDGES_PER_JOB, num_edges // MANY_JOBS))))
    if parts == 1:
        return tuple(edges), 1
    runs = [
        tuple(edges[at : at + max(1, len(edges) // parts)]) for at in range(0, len(edges), max(1, len(edges) // parts))
    ]
    spread_ = engine.run(
        "spread", [Job(function=spread, arguments=SpreadArguments(edges=run, parts=parts)) for run in runs]
    )
    routed = _files(spread_, "edges.arrow")
    stars, turn = _files(spread_, "stars.arrow"), 0
    while True:
        turn += 1
        large = engine.run(f"large-{turn}", _star_jobs(run_large_star, stars, parts))
        stars = _files(large, "stars.arrow")
        if not sum(result.counts["unsettled"] for result in large):
            break
        stars = _files(engine.run(f"small-{turn}", _star_jobs(run_small_star, stars, parts)), "stars.arrow")
    jobs = [
        Job(function=route, arguments=RouteArguments(edges=routed, roots=stars, part=part, parts=parts))
        for part in range(parts)
    ]
    return _files(engine.run("route", jobs), "edges.arrow"), parts


def edges_of(attempt: Attempt, files: Sequence[FileRef], part: int, parts: int) -> tuple[_Numbers, _Numbers]:
    """The edges of one range of what `bring_together` gave: document, better."""
    if parts > 1:
        document, better = read_range(attempt, files, part, _EDGE)
        return document, better
    return _read_edges(attempt, files)


def _files(results: Sequence[Result], name: str) -> tuple[FileRef, ...]:
    return tuple(result.files[name] for result in results)


def _star_jobs(function: Any, stars: tuple[FileRef, ...], parts: int) -> list[Job]:
    return [
        Job(function=function, arguments=StarArguments(stars=stars, part=part, parts=parts)) for part in range(parts)
    ]


def _read_edges(attempt: Attempt, files: Sequence[FileRef]) -> tuple[_Numbers, _Numbers]:
    read = [read_columns(attempt, file) for file in files]
    document, better = (
        np.concatenate([np.zeros(0, np.uint64), *(columns[name].to_numpy() for columns in read)]) for name in _EDGE
    )
    return document, better


def _range_of_nodes(nodes: _Numbers, parts: int) -> npt.NDArray[np.int64]:
    """Ranges of scattered numbers: duplicates that lie together in the corpus are not the work of one job."""
    with np.errstate(over="ignore"):
        return range_of(mix64.py_func(nodes), parts)


def _write_stars(attempt: Attempt, node: _Numbers, neighbour: _Numbers, parts: int) -> None:
    place = _range_of_nodes(node, parts)
    write_ranges(attempt.output("stars.arrow"), {"node": node, "neighbour": neighbour}, place, parts)


def spread(arguments: SpreadArguments, attempt: Attempt) -> dict[str, Any]:
    """Writes edges.arrow, by their documents, and stars.arrow: of their components alone, under both nodes."""
    document, better = _read_edges(attempt, arguments.edges)
    place = _range_of_nodes(document, arguments.parts)
    write_ranges(attempt.output("edges.arrow"), {"document": document, "better": better}, place, arguments.parts)
    _write_stars(attempt, *both_directions(*forest(document, better)), arguments.parts)
    return {"edges": len(document)}


def run_large_star(arguments: StarArguments, attempt: Attempt) -> dict[str, Any]:
    """Writes stars.arrow: nodes and smaller ones, under the larger."""
    node, smaller, unsettled = large_star(*read_range(attempt, arguments.stars, arguments.part, _STAR))
    _write_stars(attempt, node, smaller, arguments.parts)
    return {"edges": len(node), "unsettled": unsettled}


def run_small_star(arguments: StarArguments, attempt: Attempt) -> dict[str, Any]:
    """Writes stars.arrow, under both nodes."""
    node, smaller = small_star(*read_range(attempt, arguments.stars, arguments.part, _STAR))
    _write_stars(attempt, *both_directions(node, smaller), arguments.parts)
    return {"edges": len(node)}


def route(arguments: RouteArguments, attempt: Attempt) -> dict[str, Any]:
    """Writes edges.arrow, by the root of their component."""
    document, better = read_range(attempt, arguments.edges, arguments.part, _EDGE)
    node, root = read_range(attempt, arguments.roots, arguments.part, _STAR)
    order = np.argsort(node)
    node, root = node[order], root[order]
    place = np.minimum(np.searchsorted(node, document), max(0, len(node) - 1))
    roots = np.where(node[place] == document, root[place], document) if len(node) else document
    ranges = _range_of_nodes(roots, arguments.parts)
    write_ranges(attempt.output("edges.arrow"), {"document": document, "better": better}, ranges, arguments.parts)
    return {"edges": len(document)}
