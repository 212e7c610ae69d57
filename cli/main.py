"""The command `glmdata`: finds the subcommand, turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 129 hung up, 130 interrupted, 143 terminated. A first signal unwinds: what
runs is stopped, the lock let go. A second one ends the process at once.
"""

import importlib
import os
import shlex
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

import click

from glmdata import __version__
from glmdata.errors import ConfigError, GlmdataError
from glmdata.imports import hide_unused_libraries

__all__ = ["main"]

_COMMANDS = {
    "build": "Build training shards from raw text files.",
    "convert": "Make a checkpoint of an original's weights: THUDM/GLM, ChatGLM-6B.",
    "dedupe": "Make an index of what a corpus holds, for later builds.",
    "diff": "Show in what two finished builds differ.",
    "evaluate": "Loss and perplexity of a model on a build, by objective and language.",
    "export": "Write a build as Parquet, JSON lines or a Megatron dataset, or a model for the original's code.",
    "finetune": "Finetune a trained model on rows of answers.",
    "generate": "Fill the blanks of a prompt, continue a text, or chat.",
    "inspect": "Look into a finished build: figures, samples, histograms, verification.",
    "quantize": "Make a checkpoint with int8 or int4 weights; its memory and perplexity before and after.",
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


_STOPS = {signal.SIGHUP: "hung up", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_RESUMED = ("build", "train", "finetune")
"""Commands that go on where they stopped."""


_caught: list[int] = []
"""Signals that asked for the end."""


def _watch_signals() -> None:
    """Let the first signal unwind and the second end the process; one that is ignored (nohup) stays so."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        _caught.append(number)
        if len(_caught) > 1:
            from glmdata.pipelines.processes import kill_descendants

            kill_descendants()
            os._exit(128 + number)
        raise KeyboardInterrupt

    for number in _STOPS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, stop)


def main() -> NoReturn:
    """Run the command line and exit."""
    _watch_signals()
    hide_unused_libraries()
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
        _end(_caught[0] if _caught else signal.SIGINT)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # a signal in the middle of native code may come out as something else
        if not _caught:
            raise
        _end(_caught[0])
    sys.stdout.flush()
    sys.exit(code)


def _end(number: int) -> NoReturn:
    """Say how to go on, and exit without waiting for threads in the middle of a partition."""
    told = f"glmdata: {_STOPS[signal.Signals(number)]}"
    arguments = [argument for argument in sys.argv[1:] if argument != "--fresh"]
    if arguments[:1] and arguments[0] in _RESUMED:
        told += "; the same command goes on where this one stopped"
        if not any("://" in argument and "@" in argument for argument in arguments):  # may hold a password
            told += f":\n  {shlex.join(['glmdata', *arguments])}"
    try:
        click.echo(told, err=True)
        sys.stdout.flush()
    except OSError:  # the terminal is gone
        os._exit(128 + number)
    if threading.active_count() > 1:
        sys.stderr.flush()
        os._exit(128 + number)
    sys.exit(128 + number)
