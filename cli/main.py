"""The command `glmdata`: finds the subcommand, turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated.
"""

import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

import click

from glmdata import __version__
from glmdata.errors import ConfigError, GlmdataError

__all__ = ["main"]

_COMMANDS = {
    "build": "Build training shards from raw text files.",
    "dedupe": "Make an index of what a corpus holds, for later builds.",
    "diff": "Show in what two finished builds differ.",
    "export": "Write a build as Parquet, JSON lines or a Megatron dataset.",
    "finetune": "Finetune a trained model on rows of answers.",
    "generate": "Fill the blanks of a prompt, continue a text, or chat.",
    "inspect": "Look into a finished build: figures, samples, histograms, verification.",
    "recipe": "Print a recipe with all its settings.",
    "report": "Make report.html of a finished build.",
    "tokenizer": "Train a tokenizer, or look into one.",
    "train": "Train a GLM on a finished build.",
    "why": "Show what happened to one document, stage by stage.",
}
"""Subcommand -> short help; modules are imported only when called, so that --help is quick."""


class _Commands(click.Group):
    """Commands that live in modules of their own."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"glmdata.cli.{cmd_name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            import difflib

            hint = difflib.get_close_matches(args[0], _COMMANDS, 1)
            known = f"did you mean {hint[0]}?" if hint else f"there are {', '.join(_COMMANDS)}"
            raise click.UsageError(f"no command {args[0]!r}; {known}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="glmdata")
def _glmdata() -> None:
    """Raw Chinese and English text in, GLM (autoregressive blank infilling) training data out."""


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> NoReturn:
    """Run the command line and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _glmdata.main(standalone_mode=False)
        code = 0
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except GlmdataError as error:
        if os.environ.get("GLMDATA_TRACEBACK"):
            raise
        click.echo(f"glmdata: {error}", err=True)
        code = 2 if isinstance(error, ConfigError) else 1
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("glmdata: interrupted; the same command goes on where this one stopped", err=True)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        if code == 128 + signal.SIGTERM:
            click.echo("glmdata: terminated; the same command goes on where this one stopped", err=True)
    sys.stdout.flush()
    sys.exit(code)
