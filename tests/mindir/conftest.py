"""Fixtures of the converter's tests: one-operation networks, run by MindSpore and as converted ONNX."""

from __future__ import annotations

import importlib
import itertools
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.lazy import require

Array = NDArray[Any]
ORT_OPTIONS = {"providers": ["CPUExecutionProvider"]}


class Golden(Protocol):
    """See the fixture `golden`."""

    def __call__(
        self, code: str, *inputs: Array, reference: str = ..., tolerance: float = ..., dynamic_batch: bool = ...
    ) -> Any: ...


@pytest.fixture(scope="session")
def ms() -> Any:
    """MindSpore, on the CPU."""
    pytest.importorskip("mindspore", reason="MindSpore is not installed")
    return require("mindspore", "mindspore")


@pytest.fixture(scope="session")
def network(
    ms: Any, tmp_path_factory: pytest.TempPathFactory, oracle_value: Callable[[str, tuple[int, ...]], Array]
) -> Iterator[Callable[[str], Any]]:
    """`network(code)`: a Cell in inference mode, with reproducible weights in every parameter.

    `code` is an expression, of a Cell (``"nn.ReLU()"``) or of the inputs ``x`` and ``y`` (``"x + 1.5"``), or, on
    several lines, the statements that make the result from ``x``. It may use `nn`, `ops`, `mint`, `ms`, `np`, `Tensor`.
    """
    folder = tmp_path_factory.mktemp("networks")
    count = itertools.count()

    def make(code: str) -> Any:
        name = f"golden_network_{next(count)}"
        names: tuple[str, ...] = ("x",)
        if "\n" not in code:
            names = compile(code, name, "eval").co_names
            code = f"return {code}"
        if "x" not in names:
            code, cell = "return self.cell(x)", code.removeprefix("return ")
        else:
            cell = "None"
        path = folder / f"{name}.py"
        # MindSpore compiles source code, so the network needs a file of its own.
        path.write_text(
            "import mindspore as ms\nimport numpy as np\nfrom mindspore import Tensor, mint, nn, ops\n\n\n"
            "class Net(nn.Cell):\n"
            "    def __init__(self):\n        super().__init__()\n"
            f"        self.cell = {cell}\n\n"
            f"    def construct(self, x{', y' if 'y' in names else ''}):\n{textwrap.indent(code, '        ')}\n"
        )
        module = importlib.import_module(name)
        net = module.Net()
        for parameter in _weights(net):
            parameter.set_data(ms.Tensor(oracle_value(parameter.name, parameter.shape)))
        return net.set_train(False)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)  # MindSpore imports the module of what it compiles by name
        yield make


@pytest.fixture(scope="session")
def export(ms: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`export(cell, *inputs)`: the MindIR of a Cell, of the inputs' shapes."""
    folder = tmp_path_factory.mktemp("mindir")
    count = itertools.count()

    def to_file(cell: Any, *inputs: Array) -> Path:
        path = folder / f"{next(count)}.mindir"
        ms.export(cell, *map(ms.Tensor, inputs), file_name=str(path), file_format="MINDIR")
        return path

    return to_file


def _weights(cell: Any) -> list[Any]:
    """Its parameters, without the counters that mint's BatchNorm keeps."""
    return [parameter for parameter in cell.get_parameters() if parameter.shape]


def _role(parameter: Any) -> str:
    """What it is called in `mint`, which calls some by other names than `nn`."""
    name: str = parameter.name.rpartition(".")[2]
    names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    return names.get(name, name)


def run_onnx(model: Any, *inputs: Array) -> list[Array]:
    """The outputs of an ``onnx.ModelProto`` in ONNX Runtime."""
    onnxruntime = require("onnxruntime", "onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), **ORT_OPTIONS)
    names = [value.name for value in session.get_inputs()]
    outputs: list[Array] = session.run(None, dict(zip(names, inputs, strict=True)))
    return outputs


@pytest.fixture(scope="session")
def golden(network: Callable[[str], Any], export: Callable[..., Path], ms: Any) -> Golden:
    """`golden(code, *inputs)`: convert a network of one operation and compare it with MindSpore; returns the ONNX.

    The network (see `network`) is exported for the first of the three images in each input, converted, and run on the
    first and on all three. Each time the result must be what MindSpore itself computes, dtype and shape included.

    `reference` is for operations that MindSpore exports but has no CPU kernel for: a network that computes the same by
    another one. It gets the same weights.
    """
    from ghostedge.mindir import convert

    def check(
        code: str, *inputs: Array, reference: str = "", tolerance: float = 1e-5, dynamic_batch: bool = True
    ) -> Any:
        net = network(code)
        runnable = network(reference) if reference else net
        weights = {_role(parameter): parameter for parameter in _weights(net)}
        for parameter in _weights(runnable):
            parameter.set_data(weights[_role(parameter)])
        model = convert(export(net, *(x[:1] for x in inputs)), dynamic_batch=dynamic_batch)
        for images in (1, 3) if dynamic_batch else (1,):
            batch = [x[:images] for x in inputs]
            expected = runnable(*map(ms.Tensor, batch))
            expected = expected if isinstance(expected, tuple) else (expected,)
            for got, want in zip(run_onnx(model, *batch), expected, strict=True):
                want = want.asnumpy()
                assert (got.dtype, got.shape) == (want.dtype, want.shape)
                # float32 sums of up to a few hundred terms of size 1, in another order than MindSpore's.
                np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
        return model

    return check


@pytest.fixture
def images() -> Callable[..., Array]:
    """`images(*shape)`: three images of that shape, float32, normal, deviation 3: past every bend of an activation."""

    def make(*shape: int, seed: int = 0) -> Array:
        return (3 * np.random.default_rng(seed).standard_normal((3, *shape))).astype(np.float32)

    return make
