"""The public Python API: every name is there, typed, documented and light; every example does what it says."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
from PIL import Image

import ghostedge
from ghostedge.data.golden import Golden, write_golden
from ghostedge.data.preprocess import resize_and_crop
from ghostedge.errors import ArtifactError, ImageError, UsageError
from ghostedge.model import KEY, InputSpec, Model
from ghostedge.prediction import _probabilities
from ghostedge.regression.gate import update
from ghostedge.regression.measure import Inputs
from tests.benchmarks.test_golden import SOURCE, tiny_logits

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
FUNCTIONS = [name for name in ghostedge.__all__ if name.islower()]

#: Functions that `import ghostedge` promises.
PROMISED = {
    "benchmark", "evaluate", "export", "gate", "import_weights", "inspect", "open_model", "parity", "predict", "verify",
}  # fmt: skip

SPEC = InputSpec(layout="NHWC", height=32, width=32, resize=36)
ANIMALS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibex", "jay")

# -- The names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ghostedge.__all__)
def test_every_name_is_there_with_a_docstring(name: str) -> None:
    assert name in dir(ghostedge)
    assert inspect.getdoc(getattr(ghostedge, name))


def test_there_is_one_list_of_names() -> None:
    assert ghostedge.__all__ == sorted(ghostedge.__all__)
    assert set(ghostedge.__all__) == {name for names in ghostedge._HOMES.values() for name in names.split()}
    assert set(FUNCTIONS) == PROMISED
    typed = re.search(r"\nif TYPE_CHECKING:\n(.*?)\n\n", Path(ghostedge.__file__).read_text(), re.DOTALL)
    assert typed is not None
    imports = [re.fullmatch(r" +from ghostedge\.(\S+) import (.*)", line) for line in typed[1].splitlines()]
    assert {found[1]: found[2].replace(",", "") for found in imports if found} == ghostedge._HOMES


def test_no_module_takes_a_public_name() -> None:
    """Importing ``ghostedge.x`` puts the module `x` into the package, in place of a function of that name."""
    assert not {module.name for module in pkgutil.iter_modules(ghostedge.__path__)} & set(ghostedge.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        ghostedge.exprot  # type: ignore[attr-defined]  # noqa: B018


def test_type_checkers_know_the_names(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(
        "import ghostedge\n"
        "seen = ghostedge.predict('m.onnx', 'cat.jpg')\n"
        "reveal_type(seen[0].names)\n"
        "ghostedge.predict('m.onnx', 'cat.jpg', tpo=1)\n"
        "ghostedge.exprot\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(tmp_path / "user.py")]
    done = subprocess.run(command, cwd=ROOT, env={"MYPYPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert any('Revealed type is "tuple[str, ...]"' in line for line in lines), done.stdout
    assert any("user.py:4: error" in line and "tpo" in line for line in lines)
    assert any("user.py:5: error" in line and "exprot" in line for line in lines)


def test_importing_loads_nothing() -> None:
    """No library and none of our modules, and it costs little: a ratio within one run, not a time."""
    code = "import sys; before = set(sys.modules); import ghostedge; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ghostedge"]

    def seconds(statement: str) -> float:
        best = float("inf")
        for _ in range(10):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            best = min(best, time.perf_counter() - started)
        return best

    assert seconds("import ghostedge") < 2 * seconds("pass")


# -- The examples ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(oracle_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples speak of: a model in two formats, photos that it gets right in three of four cases, ..."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("api")
    tiny = ROOT / "tests" / "data" / "tiny"
    shutil.copy(tiny / "tiny_fp32.tflite", folder / "model_fp32.tflite")
    described = Model(folder / "model_fp32.tflite", "tflite", SPEC, ANIMALS, bounds={"min_snr_db": 60.0})
    with zipfile.ZipFile(described.path, "a") as archive:  # where TFLite keeps metadata: at the end
        archive.writestr(f"{KEY}.json", described.to_json())
    rng = np.random.default_rng(7)
    crops = []
    for number in range(40):
        pixels = np.broadcast_to(rng.integers(0, 256, 3), (40, 50, 3)).astype(np.uint8)
        crops.append(resize_and_crop(pixels, SPEC).astype(np.uint8))
        label = int(tiny_logits(crops[-1][None]).argmax()) + (number % 4 == 0)
        path = folder / "photos" / ANIMALS[label % 10] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    names = tuple(f"{number:02d}.png" for number in range(40))
    shots = np.stack(crops)[:4]
    write_golden(folder / "model.golden.npz", Golden(shots, tiny_logits(shots), names[:4], ANIMALS, SOURCE))
    [result] = ghostedge.evaluate(folder / "model_fp32.tflite", folder / "photos", folder)
    result.ledger.rename(folder / "reference.parquet")
    shutil.copy(path, folder / "photo.png")
    update(folder / "gate.json", Inputs((folder / "model_fp32.tflite",)))
    shutil.copy(oracle_checkpoint, folder / "trained.ckpt")
    return folder


def run_examples(text: str, name: str) -> int:
    """Run the examples of a text. Returns: how many there are."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    report: list[str] = []
    failed, tried = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert failed == 0, "".join(report)
    return tried


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_in_its_docstring(name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a benchmark lock of its own
    text = inspect.getdoc(getattr(ghostedge, name)) or ""
    if name not in ("open_model", "export"):  # they have theirs on the page
        assert run_examples(text, name) > 0


def test_the_examples_on_the_page(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert run_examples("\n".join(blocks), PAGE.name) > len(FUNCTIONS)


# -- The page ----------------------------------------------------------------------------------------------------------


def signature(name: str) -> str:
    """How a function is called, or a dataclass made, as the page shows it."""
    what = getattr(ghostedge, name)
    parameters, mark = [], False
    for parameter in inspect.signature(what).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not mark:
            parameters.append("*")
            mark = True
        annotation = str(parameter.annotation).strip("'")
        default = parameter.default
        shown = "..." if isinstance(default, FunctionType) or "factory" in repr(default) else repr(default)
        shown = "LOCAL" if isinstance(default, ghostedge.RunSettings) else shown
        parameters.append(f"{parameter.name}: {annotation}" + ("" if default is parameter.empty else f" = {shown}"))
    answer = f" -> {inspect.signature(what).return_annotation}".replace("'", "") if name in FUNCTIONS else ""
    one_line = f"{name}({', '.join(parameters)}){answer}"
    if len(one_line) <= 110:
        return one_line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), f"){answer}"])


#: What a user makes; all other classes are what a user gets.
MADE = ("InputSpec", "RunSettings")


@pytest.mark.parametrize("name", ghostedge.__all__)
def test_the_page_has_an_example_of_every_name_and_what_it_says_is_there(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    [section] = re.findall(rf"^### `{name}`\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert f"ghostedge.{name}" in "".join(re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
    if name in (*FUNCTIONS, *MADE):
        assert f"```\n{signature(name)}\n```" in section, signature(name)
    else:
        fields = re.findall(r"`(\w+)`", " ".join(re.findall(r"^- ([^:]*):", section, re.MULTILINE)))
        known = {*dir(getattr(ghostedge, name)), *getattr(getattr(ghostedge, name), "__dataclass_fields__", ())}
        assert set(fields) <= known
        assert fields or name == "GhostedgeError"


# -- What the functions refuse -----------------------------------------------------------------------------------------


def test_predict_takes_files_folders_and_arrays(folder: Path) -> None:
    model = ghostedge.open_model(folder / "model_fp32.tflite")
    [path, *_] = sorted((folder / "photos").glob("*/*.png"))
    pixels = np.asarray(Image.open(path))
    [by_path] = ghostedge.predict(model, path)
    [by_array] = ghostedge.predict(folder / "model_fp32.tflite", pixels)
    several = ghostedge.predict(str(folder / "model_fp32.tflite"), [str(path.parent), pixels], top=1)
    assert (by_path.image, by_array.image) == (str(path), "image 0")
    assert by_path.logits == by_array.logits
    assert len(by_path.classes) == 5
    assert by_path.names == tuple(ANIMALS[index] for index in by_path.classes)
    assert len(several) == len(list(path.parent.iterdir())) + 1
    assert several[-1].classes == by_path.classes[:1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda model: ghostedge.predict(model, "gone.png"), ImageError, "gone.png does not exist"),
        (lambda model: ghostedge.predict(model, np.zeros((2, 2), np.uint8)), ImageError, r"uint8 \(h, w, 3\)"),
        (lambda model: ghostedge.predict(model, np.zeros((2, 2, 3), np.float32)), ImageError, "image 0 is float32"),
        (lambda model: ghostedge.predict(model, [], top=0), UsageError, "top is 0"),
        (lambda model: ghostedge.predict("gone.onnx", []), ArtifactError, "gone.onnx does not exist"),
        (lambda model: ghostedge.evaluate([], "photos", "out"), UsageError, "no artifact"),
        (lambda model: ghostedge.verify([]), UsageError, "there is no model to run"),
        (lambda model: ghostedge.benchmark([], "out"), UsageError, "there is no model to run"),
        (lambda model: ghostedge.benchmark(model, "out", ghostedge.RunSettings("lokal")), UsageError, "device 'lokal'"),
        (
            lambda model: ghostedge.gate(model.parent / "gate.json", str(model.parent / "gone.onnx")),
            ArtifactError,
            r"gone\.onnx does not exist",
        ),
        (lambda model: ghostedge.verify("gone.onnx"), ArtifactError, "gone.onnx does not exist"),
    ],
)
def test_a_mistake_is_one_of_our_errors(
    call: Callable[[Path], object], error: type[Exception], message: str, folder: Path
) -> None:
    with pytest.raises(error, match=message) as caught:
        call(folder / "model_fp32.tflite")
    assert isinstance(caught.value, ghostedge.GhostedgeError)


def test_probabilities_of_a_model_with_a_softmax_are_not_flattened(tmp_path: Path) -> None:
    sharp = np.array([0.97, 0.02, 0.0, 0.0], np.float32)  # sums to 0.99, as 8-bit probabilities do
    assert np.array_equal(_probabilities(sharp, tmp_path), sharp.astype(np.float64))
    large = np.array([1000, 999, -1000], np.float32)
    np.testing.assert_allclose(_probabilities(large, tmp_path), [0.7310586, 0.2689414, 0], atol=1e-7)
    for bad in (np.nan, np.inf):
        with pytest.raises(ArtifactError, match="NaN or infinity"):
            _probabilities(np.array([bad, 1], np.float32), tmp_path)
