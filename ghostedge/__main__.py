"""``python -m ghostedge`` is the command line."""

import sys

from ghostedge.cli.main import main

sys.exit(main())
