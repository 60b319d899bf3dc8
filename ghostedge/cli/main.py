"""Parse the command line, run one command, and turn its errors into one line and an exit code."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import NoReturn

import ghostedge
from ghostedge.cli import add_arguments
from ghostedge.errors import GhostedgeError, UsageError

#: Command -> module with HELP, EPILOG, ARGUMENTS and run(args). Order of the way of the data.
COMMANDS: dict[str, str] = {
    "export": "ghostedge.cli.export",
    "fetch": "ghostedge.cli.fetch",
    "import-weights": "ghostedge.cli.import_weights",
    "predict": "ghostedge.cli.predict",
    "inspect": "ghostedge.cli.inspect",
    "reference": "ghostedge.cli.reference",
    "evaluate": "ghostedge.cli.evaluate",
    "parity": "ghostedge.cli.parity",
    "verify": "ghostedge.cli.verify",
    "verify-files": "ghostedge.cli.verify_files",
    "benchmark": "ghostedge.cli.benchmark",
    "serve": "ghostedge.cli.serve",
    "gate": "ghostedge.cli.gate",
    "card": "ghostedge.cli.card",
    "demo": "ghostedge.cli.demo",
}

#: Flag of every command -> its help.
_OUTPUT = {
    "--json": "print one JSON document on stdout",
    "--quiet": "no progress on stderr",
    "--debug": "show the traceback of an error",
}

_EXIT_CODES = textwrap.dedent("""\
    exit codes:
      0    done
      1    the tool could not do what was asked (wrong arguments included)
      2    an artifact differs from its source by more than its bound, gives wrong answers on a device, or is worse than
           a gate's baseline allows
      3    more images are needed to judge (parity, gate, export --max-drop)
      130  interrupted (Ctrl-C; 143: by SIGTERM, 129: by SIGHUP); whole files stay, the next run continues
""")


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is a `UsageError` (exit code 1: 2 means that parity failed) and suggests a way out."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        choices = list(action.choices or ())
        if choices and value not in choices:
            near = difflib.get_close_matches(str(value), [str(c) for c in choices], n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            is_command = isinstance(action, argparse._SubParsersAction)
            name = "command" if is_command else "/".join(action.option_strings) or action.dest
            raise UsageError(f"unknown {name} '{value}'; {hint}available: {', '.join(map(str, choices))}")


def _output_flags(default: object) -> _Parser:
    """A parent of parsers with what every command takes.

    Args:
        default: of a flag that is not given; `argparse.SUPPRESS` where one that was given before shall stand.
    """
    common = _Parser(add_help=False)
    group = common.add_argument_group("output, before the command or after it")
    for name, text in _OUTPUT.items():
        group.add_argument(name, action="store_true", default=default, help=text)
    return common


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ghostedge",
        description="Take a MindSpore GhostNetV2 checkpoint to the edge and prove that it arrived.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_output_flags(False)],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ghostedge {ghostedge.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(module_name)
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP[:1].upper() + module.HELP[1:] + ".",
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[_output_flags(argparse.SUPPRESS)],
            allow_abbrev=False,
        )
        add_arguments(command, module.ARGUMENTS)
        command.set_defaults(run=module.run)
    return parser


def command_parsers() -> dict[str, argparse.ArgumentParser]:
    """Command -> its parser, for what documents them."""
    (commands,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(commands.choices)


def _unsupported() -> str | None:
    """Why ghostedge cannot run here, in one line; before anything is imported that would fail in its own words."""
    if sys.version_info < (3, 11):  # noqa: UP036  (a clone can be run by any)
        return f"Python 3.11 to 3.14 is needed, this is {sys.version_info[0]}.{sys.version_info[1]}"
    if sys.maxsize <= 2**32:
        return (
            "a 64-bit system is needed, this Python is of 32 bits: the runtimes have no packages for it (on a "
            "Raspberry Pi 3 or later install the 64-bit Raspberry Pi OS)"
        )
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ghostedge ARGV``.

    Args:
        argv: the arguments; those of the process where None.

    Returns:
        The exit code: 0, 1 (tool error), 2 (parity failed), 3 (more images are needed) or 130 (interrupted).
    """
    if problem := _unsupported():
        print(f"ghostedge: error: {problem}", file=sys.stderr)
        return 1
    from ghostedge.console import terminal

    with terminal():
        return _run(sys.argv[1:] if argv is None else list(argv))


def _run(arguments: list[str]) -> int:
    """Run the command and say in one line what went wrong. Returns: the exit code."""
    from ghostedge.console import one_line

    try:
        try:
            args, unknown = _parser().parse_known_args(arguments)
            if unknown:
                before = arguments[: arguments.index(args.command)]
                command = "" if unknown[0] in before else f" {args.command}"
                raise UsageError(f"unrecognized arguments: {' '.join(unknown)}; see 'ghostedge{command} --help'")
            code: int = args.run(args)
        finally:
            sys.stdout.flush()  # a closed pipe shows here, not at interpreter exit
        return code
    except BrokenPipeError:
        return 0  # the reader of our output (head, less) has gone: not an error of ours
    except GhostedgeError as exc:
        if "--debug" in arguments:
            raise
        print(f"ghostedge: error: {one_line(exc)}", file=sys.stderr)
        return exc.exit_code
    except OSError as exc:
        if "--debug" in arguments or not exc.filename:
            raise
        print(f"ghostedge: error: {one_line(_of_the_system(exc))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ghostedge: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _of_the_system(exc: OSError) -> str:
    """What the system says of a file, where no reader or writer of ours said more."""
    name = os.fsdecode(exc.filename) if isinstance(exc.filename, (bytes, str)) else str(exc.filename)
    return f"{name if len(name) < 256 else name[:60] + '...' + name[-60:]}: {exc.strerror or exc}"
