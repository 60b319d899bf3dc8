"""Show the examples of docstrings (``>>> ...``) as Python: in Markdown each would be a quotation in a quotation."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Fence each paragraph of a docstring that begins with ``>>>``."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^>>> .*(?:\n.+)*", "```python\n\\g<0>\n```", obj.docstring.value, flags=re.MULTILINE
            )
