"""A MindIR says its shapes and description without MindSpore, or in one line why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ghostedge.errors import ArtifactError
from ghostedge.mindir.read import describe_mindir
from ghostedge.model import KEY, InputSpec
from ghostedge.wire import field


def value_info(*dims: int) -> bytes:
    return field(1, b"x") + field(2, b"".join(field(1, dim) for dim in dims))


def test_an_exported_file_and_nothing_heavy(oracle_mindir: Path) -> None:
    info = describe_mindir(oracle_mindir)
    assert (info.input_shape, info.output_shape) == ((1, 3, 224, 224), (1, 1000))
    assert info.description is not None
    assert info.description.input == InputSpec()
    code = (
        f"import sys; from pathlib import Path; from ghostedge.mindir.read import describe_mindir; "
        f"describe_mindir(Path({str(oracle_mindir)!r})); print('mindspore' in sys.modules, 'google' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_file_of_other_origin_has_no_description(tmp_path: Path) -> None:
    graph = field(5, value_info(1, 3, 8, 8)) + field(6, value_info(1, 4))
    other = field(14, field(1, b"version") + field(2, b"11.0"))
    (tmp_path / "m.mindir").write_bytes(field(7, graph) + other)
    info = describe_mindir(tmp_path / "m.mindir")
    assert (info.input_shape, info.output_shape, info.description) == ((1, 3, 8, 8), (1, 4), None)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "holds no graph"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a MindIR file"),
        (field(7, field(5, value_info(1)) + field(6, value_info(1)))[:-1], "not a whole one"),
        (field(1, b"1.1"), "holds no graph"),
        (field(7, field(5, value_info(1)) * 2 + field(6, value_info(1))), "2 inputs and 1 outputs"),
        (field(7, field(5, value_info(1)) + field(6, value_info(1))) + field(14, field(1, KEY.encode())), "damaged"),
    ],
    ids=["empty", "other", "truncated", "no graph", "two inputs", "description"],
)
def test_what_is_no_whole_mindir(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "m.mindir").write_bytes(data)
    with pytest.raises(ArtifactError, match=reason) as caught:
        describe_mindir(tmp_path / "m.mindir")
    assert "\n" not in str(caught.value)


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        describe_mindir(tmp_path / "absent.mindir")
