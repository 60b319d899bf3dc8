"""Let the commands that tests start heed signals, however the tests themselves were started."""

from __future__ import annotations

import signal


def heed() -> None:
    """For ``preexec_fn``: as in a terminal. A script's background jobs ignore Ctrl-C, and what nohup starts SIGHUP."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)
