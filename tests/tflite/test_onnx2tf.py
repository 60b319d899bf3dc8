"""What the conversion process may not do."""

from __future__ import annotations

import subprocess
import sys


def test_the_conversion_process_may_not_use_the_network() -> None:
    code = (
        "import sys, urllib.request\n"
        "from ghostedge.tflite import onnx2tf\n"
        "sys.addaudithook(onnx2tf._refuse_network)\n"
        "urllib.request.urlopen('http://192.0.2.1/', timeout=1)"  # an address for documentation: nobody answers
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "a conversion may not use the network" in done.stderr.splitlines()[-1]
