"""Fixtures of the converter's tests: one-operation networks, run by MindSpore and as converted ONNX.

What MindSpore exports and answers is recorded in tests/data/mindir, a file for each file of tests. A test that asks for
`of_mindspore` or `golden` runs twice: with the recording, which needs no MindSpore, and with MindSpore itself
(`oracle`), which must still export and answer what is recorded. `make golden` records anew.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import math
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import ConvertError
from ghostedge.lazy import require
from ghostedge.mindir.conversion import convert
from ghostedge.mindir.read import read_mindir

Array = NDArray[Any]
Answers = tuple[Array, ...]
ORT_OPTIONS = {"providers": ["CPUExecutionProvider"]}
RECORDINGS = Path(__file__).parents[1] / "data" / "mindir"


class Golden(Protocol):
    """See the fixture `golden`."""

    def __call__(
        self, code: str, *inputs: Array, reference: str = ..., tolerance: float = ..., dynamic_batch: bool = ...
    ) -> Any: ...


@pytest.fixture(scope="session")
def ms() -> Any:
    """MindSpore, on the CPU."""
    pytest.importorskip("mindspore", reason="MindSpore is not installed")
    mindspore = require("mindspore", "mindspore")
    with contextlib.suppress(
        SystemError
    ):  # 2.10 is built for NumPy 1: with NumPy 2 its first product fails, and only it
        mindspore.Tensor(1.0) * 2.0
    return mindspore


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


class Recording:
    """What MindSpore exported and answered in the tests of one file: name -> MindIR or array."""

    def __init__(self, path: Path) -> None:
        self.path, self.made = path, dict[str, Array]()
        self.stored: dict[str, Array] = {}
        if path.exists():
            with np.load(path) as archive:
                index, data = json.loads(archive["index"].tobytes()), archive["data"].tobytes()
            start = 0
            for name, dtype, shape in index["entries"]:
                self.stored[name] = array = np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)
                start += array.nbytes

    def __getitem__(self, name: str) -> Array:
        if name not in self.stored:
            pytest.fail(f"{self.path.name} has no '{name}'; record it: make golden")
        return self.stored[name]

    def write(self, mindspore: str) -> None:
        """Replace the file by what was made, if anything was."""
        if self.made:
            entries = [(name, array.dtype.str, array.shape) for name, array in self.made.items()]
            index = json.dumps({"mindspore": mindspore, "entries": entries}).encode()
            data = b"".join(array.tobytes() for array in self.made.values())  # one piece, whose parts are much alike
            self.path.parent.mkdir(exist_ok=True)
            np.savez_compressed(self.path, index=np.frombuffer(index, np.uint8), data=np.frombuffer(data, np.uint8))


@pytest.fixture(scope="session")
def recordings(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Recording]]:
    """`recordings(file)`: the recording of a file of tests; written at the end if pytest is told to ``--record``."""
    known: dict[str, Recording] = {}

    def of(file: str) -> Recording:
        return known.setdefault(file, Recording(RECORDINGS / f"{file}.npz"))

    yield of
    if request.config.getoption("record"):
        version = require("mindspore", "mindspore").__version__
        for recording in known.values():
            recording.write(version)


class MindSpore:
    """What MindSpore makes of a network (see the fixture `network`): as recorded, or now."""

    def __init__(self, request: pytest.FixtureRequest, live: bool) -> None:
        self.fixture, self.live, self.test = request.getfixturevalue, live, request.node.originalname
        self.recording: Recording = self.fixture("recordings")(request.path.stem)
        self.anew = live and request.config.getoption("record")
        self.folder: Path = self.fixture("tmp_path")
        self.network = functools.cache(lambda code: self.fixture("network")(code))

    def mindir(self, code: str, *inputs: Array) -> Path:
        """The MindIR of a network for the inputs' shapes."""
        name = f"{self.test}: {code}.mindir"
        if not self.live:
            path = self.folder / "recorded.mindir"
            path.write_bytes(self.recording[name].tobytes())
            return path
        exported: Path = self.fixture("export")(self.network(code), *inputs)
        self.recording.made[name] = np.frombuffer(exported.read_bytes(), np.uint8)
        if not self.anew:
            assert primitives(self.recording[name].tobytes()) == primitives(exported), "MindSpore exports another graph"
        return exported

    def answers(self, code: str, batch: int, run: Callable[[], Any], tolerance: float) -> Answers:
        """What `run` answers in MindSpore to `batch` images."""
        names = [f"{self.test}: {code}, {batch} images, output {index}" for index in range(8)]
        if not self.live:
            return tuple(self.recording[name] for name in names if name in self.recording.stored or name == names[0])
        found = run()
        answers = tuple(output.asnumpy() for output in (found if isinstance(found, tuple) else (found,)))
        self.recording.made.update(zip(names, answers, strict=False))
        for name, answer in zip(names, () if self.anew else answers, strict=False):
            assert_same(self.recording[name], answer, tolerance)
        return answers


def primitives(mindir: Path | bytes) -> list[str]:
    """Its operations, in order; or why it cannot be read, without the names, in which MindSpore counts."""
    try:
        return [node.op for node in read_mindir(mindir).nodes]
    except ConvertError as exc:
        return [str(exc).partition(": ")[2].partition(";")[0]]


def assert_same(got: Array, want: Array, tolerance: float) -> None:
    """The same dtype, shape and values."""
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=["recorded", pytest.param("live", marks=pytest.mark.oracle)])
def of_mindspore(request: pytest.FixtureRequest) -> MindSpore:
    """What MindSpore exports and answers, once as recorded and once live, where the two must agree."""
    pytest.importorskip("onnx", reason="left out: reading MindIR needs the extra 'export'")
    return MindSpore(request, request.param == "live")


@pytest.fixture
def golden(of_mindspore: MindSpore, request: pytest.FixtureRequest) -> Golden:
    """`golden(code, *inputs)`: convert a network of one operation and compare it with MindSpore; returns the ONNX.

    The network (see `network`) is exported for the first of the three images in each input, converted, and run on the
    first and on all three. Each time the result must be what MindSpore itself computes, dtype and shape included.

    `reference` is for operations that MindSpore exports but has no CPU kernel for: a network that computes the same by
    another one. It gets the same weights.
    """

    def runnable(code: str, reference: str) -> Any:
        net = of_mindspore.network(code)
        if not reference:
            return net
        weights = {_role(parameter): parameter for parameter in _weights(net)}
        equivalent = of_mindspore.network(reference)
        for parameter in _weights(equivalent):
            parameter.set_data(weights[_role(parameter)])
        return equivalent

    def check(
        code: str, *inputs: Array, reference: str = "", tolerance: float = 1e-5, dynamic_batch: bool = True
    ) -> Any:
        model = convert(of_mindspore.mindir(code, *(x[:1] for x in inputs)), dynamic_batch=dynamic_batch)
        for images in (1, 3) if dynamic_batch else (1,):
            batch = [x[:images] for x in inputs]

            def run(batch: list[Array] = batch) -> Any:
                return runnable(code, reference)(*map(request.getfixturevalue("ms").Tensor, batch))

            expected = of_mindspore.answers(code, images, run, tolerance)
            for got, want in zip(run_onnx(model, *batch), expected, strict=True):
                # float32 sums of up to a few hundred terms of size 1, in another order than MindSpore's.
                assert_same(got, want, tolerance)
        return model

    return check


@pytest.fixture
def images() -> Callable[..., Array]:
    """`images(*shape)`: three images of that shape, float32, normal, deviation 3: past every bend of an activation."""

    def make(*shape: int, seed: int = 0) -> Array:
        return (3 * np.random.default_rng(seed).standard_normal((3, *shape))).astype(np.float32)

    return make
