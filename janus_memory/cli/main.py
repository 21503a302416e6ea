"""The command `janus`: its groups, its exit codes, and the one place where errors become lines."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from janus_memory.cli.config import config
from janus_memory.cli.context import App
from janus_memory.cli.dead_letters import dead_letters
from janus_memory.cli.demo import demo
from janus_memory.cli.market import close
from janus_memory.cli.replay import replay
from janus_memory.cli.rules import rules
from janus_memory.cli.schemas import schemas
from janus_memory.cli.simulate import simulate
from janus_memory.cli.sleep import sleep
from janus_memory.cli.status import status
from janus_memory.cli.topics import topics
from janus_memory.cli.up import up
from janus_memory.errors import JanusError
from janus_memory.settings import CONFIG_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]

INTERRUPTED = 130
INTERNAL = 70


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    "-c",
    envvar=CONFIG_VARIABLE,
    metavar="FILE",
    help="Settings file; ./janus.toml if it is there.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting; may be repeated.")
@click.option("--debug", is_flag=True, help="Show a traceback where something unforeseen happens.")
@click.version_option(package_name="janus-memory", prog_name="janus")
@click.pass_context
def cli(context: click.Context, config: str | None, overrides: tuple[str, ...], debug: bool) -> None:
    """JANUS memory: what a trading agent remembers while its market sleeps.

    \b
    Examples:
      janus demo                                        everything on this machine, in a few minutes
      janus --config janus.toml up                      run the services against your broker
      janus --set kafka.bootstrap=kafka:9092 status     what runs, what waits, how the nights ended

    \b
    Exit codes: 0 done, 2 settings or arguments, 3 wire format, 4 too few rows, 5 broker,
    6 vector store, 7 log truncated, 8 cut mismatch, 9 session, 10 checkpoint,
    70 unforeseen, 130 interrupted, 1 anything else.
    """
    context.obj = App(config, overrides)
    context.meta["debug"] = debug


for command in (
    demo,
    up,
    simulate,
    replay,
    topics,
    status,
    close,
    sleep,
    dead_letters,
    config,
    rules,
    schemas,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code; errors are lines on stderr, never bare tracebacks."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run a command; the exit code."""
    try:
        result: Any = cli.main(list(arguments), prog_name="janus", standalone_mode=False)
    except JanusError as error:
        return _say(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted; what was already committed is safe", INTERRUPTED)
    except BrokenPipeError:
        # The reader (head, less) has gone: keep the interpreter from flushing into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _say(
            f"unforeseen {type(error).__name__}: {error}; this is a defect; run again with "
            "`janus --debug ...` and report the traceback",
            INTERNAL,
        )
    return result if isinstance(result, int) else 0


def _say(message: str, code: int) -> int:
    click.echo(f"error: {message}", err=True)
    return code


if __name__ == "__main__":
    main()
