"""From a MindIR file to ONNX: read the graph, rewrite it, lower it primitive by primitive."""

from __future__ import annotations

from ghostedge.mindir.convert import convert
from ghostedge.mindir.lowerings import supported_primitives

__all__ = ["convert", "supported_primitives"]
