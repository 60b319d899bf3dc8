"""Read what a MindIR file says of its input, its output and itself, without MindSpore and without protobuf."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ghostedge.errors import ArtifactError
from ghostedge.model import KEY, Model
from ghostedge.wire import fields

__all__ = ["MindIRInfo", "describe_mindir"]


@dataclass(frozen=True)
class MindIRInfo:
    """What a MindIR file says of itself.

    Attributes:
        input_shape: of its one input, e.g. ``(1, 3, 224, 224)``.
        output_shape: of its one output, e.g. ``(1, 1000)``.
        description: what ghostedge embedded; None in files of other origin.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    description: Model | None


def describe_mindir(path: Path) -> MindIRInfo:
    """Read a MindIR file's shapes and description; neither MindSpore nor protobuf is needed.

    Field numbers are those of MindSpore's ``mind_ir.proto``: ModelProto {graph 7, user_info 14 {key 1, value 2}},
    GraphProto {input 5, output 6}, ValueInfoProto {tensor 2}, TensorProto {dims 1}.

    Raises:
        ArtifactError: there is no such file, it is truncated or not a MindIR file, or it has several inputs or outputs.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ArtifactError(f"cannot read {path}: {exc.strerror or exc}") from exc
    graph, description = None, None
    try:
        for number, value in fields(memoryview(data)):
            if number == 7 and isinstance(value, memoryview):
                graph = value
            elif number == 14 and isinstance(value, memoryview):
                entry = dict(fields(value))
                if _text(entry.get(1)) == KEY:
                    description = Model.from_json(_text(entry.get(2)), path, "mindir")
        shapes = {5: list[tuple[int, ...]](), 6: list[tuple[int, ...]]()}
        for number, value in fields(graph or memoryview(b"")):
            if number in shapes and isinstance(value, memoryview):
                shapes[number].append(_shape(value))
    except ValueError as exc:
        raise ArtifactError(f"{path} is not a MindIR file, or not a whole one ({exc}); export it again") from exc
    if graph is None or not shapes[5]:
        raise ArtifactError(f"{path} is not a MindIR file: it holds no graph with an input; export it again")
    if len(shapes[5]) > 1 or len(shapes[6]) != 1:
        raise ArtifactError(f"{path} has {len(shapes[5])} inputs and {len(shapes[6])} outputs, not one of each")
    return MindIRInfo(shapes[5][0], shapes[6][0], description)


def _shape(value_info: memoryview) -> tuple[int, ...]:
    tensors = [value for number, value in fields(value_info) if number == 2]
    if not tensors or isinstance(tensors[0], int):
        return ()
    return tuple(value for number, value in fields(tensors[0]) if number == 1 and isinstance(value, int))


def _text(value: int | memoryview | None) -> str:
    return bytes(value).decode() if isinstance(value, memoryview) else ""
