"""Parse the command line, run one command, and turn its errors into one line and an exit code."""

from __future__ import annotations

import argparse
import difflib
import importlib
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
    "benchmark": "ghostedge.cli.benchmark",
    "serve": "ghostedge.cli.serve",
    "demo": "ghostedge.cli.demo",
}

_EXIT_CODES = textwrap.dedent("""\
    exit codes:
      0    done
      1    the tool could not do what was asked (wrong arguments included)
      2    an artifact differs from its source by more than its bound, or gives wrong answers on a device
      3    more images are needed to judge (parity, export --max-drop)
      130  interrupted (Ctrl-C); whole files stay, the next run continues
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


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    group = common.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser = _Parser(
        prog="ghostedge",
        description="Take a MindSpore GhostNetV2 checkpoint to the edge and prove that it arrived.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
            parents=[common],
            allow_abbrev=False,
        )
        add_arguments(command, module.ARGUMENTS)
        command.set_defaults(run=module.run)
    return parser


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
    arguments = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in arguments
    try:
        args = _parser().parse_args(arguments)
        code: int = args.run(args)
        sys.stdout.flush()  # a closed pipe shows here, not at interpreter exit
        return code
    except GhostedgeError as exc:
        if debug:
            raise
        print(f"ghostedge: error: {exc}", file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        print("ghostedge: interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) has gone: not an error of ours.
        sys.stdout = None
        return 0
