"""``python -m ghostedge`` and ``ghostedge`` are the command line."""

import sys


def start() -> int:
    """Run the command line of this process. Returns: the exit code."""
    from ghostedge.signals import supervised

    def command() -> int:
        from ghostedge.cli.main import main

        return main()

    return supervised(command)


if __name__ == "__main__":
    sys.exit(start())
