"""The stages of a build in the user's words, for progress bars and report.html."""

__all__ = ["DOING", "IN_BYTES", "IN_PIECES", "UNITS"]

DOING = {
    "benchmarks": "read benchmarks",
    "fetch": "fetch signatures",
    "ingest": "read files",
    "sign": "language, hashes",
    "gather": "order by likeness",
    "match": "find duplicates",
    "verify": "compare texts",
    "spread": "join duplicates",
    "route": "join duplicates",
    "settle": "choose survivors",
    "paragraphs": "count paragraphs",
    "repeated": "shared paragraphs",
    "join": "shared paragraphs",
    "clean": "cut and remove",
    "sample": "sample text",
    "train": "train tokenizer",
    "tokenizer": "take tokenizer",
    "tokenize": "tokenize",
    "merge": "order documents",
    "encode": "tokenize",
    "layout": "lay out rows",
    "balance": "balance languages",
    "assemble": "mask spans",
    "shards": "write shards",
    "ledger": "write ledger",
    "index": "write signatures",
}
"""What each stage does."""
UNITS = {"assemble": "samples", "layout": "samples", "shards": "samples", "benchmarks": "records"}
"""What a stage counts, where that is not documents."""
IN_BYTES = {"benchmarks", "ingest", "sign", "paragraphs", "clean", "tokenize", "encode", "merge", "shards"}
"""Stages whose jobs are weighed in bytes, so that MB/s mean something."""
IN_PIECES = {"sign", "paragraphs", "clean", "tokenize", "encode"}
"""Stages whose jobs can work on some of their rows at a time (`glmdata.pipelines.partitions.row_pieces`)."""
