"""Reading MindIR: what comes out of a good file, and the one line that every bad one is answered with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.errors import ArtifactError, ConvertError, GhostedgeError
from ghostedge.mindir.conversion import convert
from ghostedge.mindir.passes.references import resolve_references
from ghostedge.mindir.read import model_class, read_mindir

FLOAT, BFLOAT16 = 1, 16


@pytest.fixture
def conv(of_mindspore: Any) -> Path:
    """The MindIR of a convolution with a bias."""
    path: Path = of_mindspore.mindir("nn.Conv2d(3, 4, 3, has_bias=True)", np.zeros((1, 3, 8, 8), np.float32))
    return path


@pytest.fixture
def edited(conv: Path) -> Callable[[Callable[[Any], None]], bytes]:
    """`edited(change)`: the bytes of `conv` after `change(model)`."""

    def edit(change: Callable[[Any], None]) -> bytes:
        model = model_class()()
        model.ParseFromString(conv.read_bytes())
        change(model)
        data: bytes = model.SerializeToString()
        return data

    return edit


def test_a_graph_has_primitives_parameters_and_their_scopes(conv: Path) -> None:
    graph = resolve_references(read_mindir(conv))
    graph.check()
    (node,) = (node for node in graph.nodes if node.op == "Conv2D")
    assert node.name == "Default/cell-Conv2d/Conv2D-op0"
    assert node.attributes["pad_list"] == (1, 1, 1, 1)
    assert graph.values["cell.weight"].shape == (4, 3, 3, 3)
    assert graph.values[node.outputs[0]].shape == (1, 4, 8, 8)


def test_it_takes_a_path_a_string_or_bytes(conv: Path) -> None:
    assert len({len(read_mindir(source).nodes) for source in (conv, str(conv), conv.read_bytes())}) == 1


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot read .*none\.mindir: No such file"):
        read_mindir(tmp_path / "none.mindir")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"This is not a model.", "not a MindIR file, or not a whole one"),
        (b"\x3a\x00", "it holds no graph"),
        (b"\x08\x07", "it holds no graph"),
    ],
)
def test_other_files(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "other.mindir").write_bytes(data)
    with pytest.raises(ConvertError, match=rf"other\.mindir: .*{reason}"):
        read_mindir(tmp_path / "other.mindir")


def test_a_truncated_file_is_never_half_read(conv: Path) -> None:
    data = conv.read_bytes()
    for length in range(1, len(data), 97):
        with pytest.raises(ConvertError):
            convert(data[:length])


def test_a_damaged_file_gives_an_error_of_ours_or_a_model(conv: Path) -> None:
    """Never another exception: one byte in each of 300 copies is changed."""
    data = conv.read_bytes()
    rng = np.random.default_rng(0)
    failures = 0
    for position, value in zip(rng.integers(len(data), size=300), rng.integers(256, size=300), strict=True):
        damaged = bytearray(data)
        damaged[position] = value
        try:
            convert(bytes(damaged))
        except GhostedgeError:
            failures += 1
    assert failures > 30


@pytest.mark.oracle
def test_an_encrypted_file(ms: Any, network: Any, tmp_path: Path) -> None:
    path = tmp_path / "secret.mindir"
    ms.export(
        network("nn.ReLU()"),
        ms.Tensor(np.zeros((1, 4), np.float32)),
        file_name=str(path),
        file_format="MINDIR",
        enc_key=b"0123456789ABCDEF",
        enc_mode="AES-GCM",
    )
    with pytest.raises(ConvertError, match=r"encrypted; export it without enc_key"):
        read_mindir(path)


def test_control_flow(of_mindspore: Any) -> None:
    path = of_mindspore.mindir("if x.sum() > 0:\n    return x * 2\nreturn x + 1", np.zeros((1, 4), np.float32))
    with pytest.raises(ConvertError, match=r"control flow .* is not supported; subgraphs: '.*construct"):
        read_mindir(path)


@pytest.mark.oracle
def test_a_dynamic_shape(ms: Any, network: Any, tmp_path: Path) -> None:
    path = tmp_path / "dynamic.mindir"
    shape = ms.Tensor(shape=[None, 3, 8, 8], dtype=ms.float32)
    ms.export(network("nn.ReLU()"), shape, file_name=str(path), file_format="MINDIR")
    with pytest.raises(ConvertError, match=r"dynamic shape \(-1, 3, 8, 8\); export with a fixed input shape"):
        read_mindir(path)


def outside(model: Any) -> None:
    model.graph.parameter[0].external_data.location = "variables/data_0"
    model.graph.parameter[0].raw_data = b""


def short(model: Any) -> None:
    model.graph.parameter[0].raw_data = model.graph.parameter[0].raw_data[:-4]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (outside, "weights are outside the file"),
        (short, r"should hold float32 \(4, 3, 3, 3\) but has 428 bytes"),
        (lambda model: setattr(model, "little_endian", False), "big-endian"),
        (lambda model: setattr(model.graph.parameter[0], "data_type", BFLOAT16), "type 16, which numpy lacks"),
        (lambda model: setattr(model.graph.parameter[0], "compression_type", 1), "is compressed"),
        (
            lambda model: model.graph.parameter.append(model.graph.parameter[0]),
            "two parameters are called 'cell.weight'",
        ),
        (lambda model: model.primitives.pop(), "which is not in the file"),
        (lambda model: model.graph.input.pop(), "which nothing has made"),
    ],
)
def test_files_that_cannot_be_converted(edited: Any, change: Callable[[Any], None], reason: str) -> None:
    with pytest.raises(ConvertError, match=reason):
        convert(edited(change))
