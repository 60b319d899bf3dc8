"""Keep the runtimes from reporting home: nothing here may need the network, and a model's name is nobody else's."""

from __future__ import annotations

import os
import sys


def report_nothing(package: str) -> None:
    """Turn the telemetry of OpenVINO, NNCF and ONNX Runtime off.

    Args:
        package: what is imported next. ONNX Runtime's is turned off whatever that is, for others import it too.
    """
    # ONNX Runtime since 1.29 sends Microsoft the model's name and hash, and leaves a device id in the home folder,
    # unless this is set when it is first imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if package in ("openvino", "nncf") and package not in sys.modules:
        # Importing these reports home through this package unless it is absent.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
