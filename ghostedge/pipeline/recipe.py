"""Read the recipes: one TOML file a deployable artifact, its name saying what it makes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ghostedge.errors import ArtifactError, RecipeError
from ghostedge.lazy import choose
from ghostedge.model import InputSpec
from ghostedge.pipeline.stages import STAGES
from ghostedge.stored import as_type, digest, parse_toml, plain


@dataclass(frozen=True)
class Bounds:
    """How far an artifact may be from the model it was made from, on the verification images.

    Attributes:
        min_snr_db: least signal-to-noise ratio of the logits, dB.
        min_top1_agreement: least fraction of images with the same best class, 0..1.
    """

    min_snr_db: float
    min_top1_agreement: float

    def __post_init__(self) -> None:
        if not 0 <= self.min_top1_agreement <= 1:
            raise ValueError(f"min_top1_agreement is {self.min_top1_agreement:g}; it must lie within 0 and 1")


@dataclass(frozen=True)
class Recipe:
    """What one artifact shall be.

    Attributes:
        name: the file's name without ``.toml``: ``<target>_<precision>``.
        target: the format to make, a key of `ghostedge.pipeline.stages.STAGES`.
        precision: ``"fp32"``, ``"fp16"``, ...
        description: one line for people.
        bounds: what the artifact must keep to.
        input: the fields of `InputSpec` that this artifact sets; the others come from the export.
        options: for the stage alone.
        file: where it was read, for messages.
    """

    name: str
    target: str
    precision: str
    description: str
    bounds: Bounds
    input: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    file: str = field(default="", compare=False)

    @property
    def sha256(self) -> str:
        """The hash of what the recipe says, comments and the order of its lines left out."""
        return digest({key: value for key, value in plain(self).items() if key != "file"})

    @property
    def origin(self) -> str:
        """Its file, or its name where it was not read from one."""
        return self.file or self.name

    def input_spec(self, base: InputSpec) -> InputSpec:
        """`base` with the fields that this recipe sets."""
        return InputSpec.from_dict(base.to_dict() | dict(self.input))


def _folder() -> Path:
    installed = Path(__file__).parents[1] / "_recipes"  # the wheel carries export/ here
    return installed if installed.is_dir() else Path(__file__).parents[2] / "export"


@functools.cache
def recipes() -> Mapping[str, Recipe]:
    """The recipes that come with ghostedge, by name; read once a process. Raises: RecipeError."""
    return {path.stem: load_recipe(path) for path in sorted(_folder().glob("*.toml"))}


def find_recipe(name_or_path: str) -> Recipe:
    """A recipe by its name, or by the path of a file of your own. Raises: RecipeError, UsageError."""
    if name_or_path.endswith(".toml"):
        return load_recipe(Path(name_or_path))
    known = recipes()
    return known[choose("recipe", name_or_path, known)]


def load_recipe(path: Path) -> Recipe:
    """Read one recipe, and check everything in it but the options, which are its stage's (`Stage.check`).

    Raises:
        RecipeError: unreadable, not TOML, or with a table or field that is missing, unknown, of another type or out of
            range; the message names file and field.
    """
    what = f"recipe {path}"
    try:
        data = parse_toml(path.read_bytes(), what, RecipeError)
        if problem := next(_problems(data), None):
            raise RecipeError(f"{what}: {problem}")
        recipe = as_type({**data, "name": path.stem, "file": str(path)}, Recipe, what, RecipeError)
        recipe.input_spec(InputSpec())
    except OSError as exc:
        raise RecipeError(f"cannot read {what}: {exc.strerror or exc}") from exc
    except ArtifactError as exc:
        raise RecipeError(f"{what}: [input]: {exc}; export/README.md describes the format") from exc
    except RecipeError as exc:
        raise RecipeError(f"{exc}; export/README.md describes the format") from exc
    if recipe.target not in STAGES:
        raise RecipeError(f"{what}: target '{recipe.target}' is not one of {', '.join(sorted(STAGES))}")
    if path.stem != f"{recipe.target}_{recipe.precision}" and path.parent == _folder():
        raise RecipeError(f"{what}: its name must be {recipe.target}_{recipe.precision}.toml")
    return recipe


def _problems(data: Mapping[str, Any]) -> Iterator[str]:
    """What the types do not refuse: unknown fields."""
    known = {entry.name for entry in dataclasses.fields(Recipe)} - {"name", "file"}
    for key in sorted(set(data) - known):
        yield f"'{key}' is unknown; known: {', '.join(sorted(known))}"
    bounds = data["bounds"] if isinstance(data.get("bounds"), dict) else {}
    for key in sorted(set(bounds) - {entry.name for entry in dataclasses.fields(Bounds)}):
        yield f"'{key}' is unknown in [bounds], which holds min_snr_db and min_top1_agreement"
