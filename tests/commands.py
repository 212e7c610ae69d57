"""The command line as its users run it."""

import os
import subprocess
import sys

GLMDATA = [sys.executable, "-m", "glmdata.cli"]
SMALL = ("--set", "tokenizer.vocabulary_size=800", "--set", "sequence_length=96", "--address", "none")


def glmdata(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*GLMDATA, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "COLUMNS": "120", **environment},
    )
