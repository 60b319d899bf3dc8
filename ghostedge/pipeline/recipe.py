"""Read the recipes: one TOML file a deployable artifact, its name saying what it makes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ghostedge.errors import ArtifactError, RecipeError
from ghostedge.lazy import choose
from ghostedge.model import InputSpec
from ghostedge.pipeline.stages import STAGES

__all__ = ["Bounds", "Recipe", "find_recipe", "load_recipe", "recipes"]

_TABLES = {"target", "precision", "description", "input", "bounds", "options"}


@dataclass(frozen=True)
class Bounds:
    """How far an artifact may be from the model it was made from, on the verification images.

    Attributes:
        min_snr_db: least signal-to-noise ratio of the logits, dB.
        min_top1_agreement: least fraction of images with the same best class, 0..1.
    """

    min_snr_db: float
    min_top1_agreement: float


@dataclass(frozen=True)
class Recipe:
    """What one artifact shall be.

    Attributes:
        name: the file's name without ``.toml``: ``<target>_<precision>``.
        target: the format to make, a key of `ghostedge.pipeline.stages.STAGES`.
        precision: ``"fp32"``, ``"fp16"``, ...
        description: one line for people.
        input: the fields of `InputSpec` that this artifact sets; the others come from the export.
        bounds: what the artifact must keep to.
        options: for the stage alone.
    """

    name: str
    target: str
    precision: str
    description: str
    input: Mapping[str, Any]
    bounds: Bounds
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The hash of what the recipe says, comments and the order of its lines left out."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def input_spec(self, base: InputSpec) -> InputSpec:
        """`base` with the fields that this recipe sets."""
        return InputSpec.from_dict(base.to_dict() | dict(self.input))


def _folder() -> Path:
    installed = Path(__file__).parents[1] / "_recipes"  # the wheel carries export/ here
    return installed if installed.is_dir() else Path(__file__).parents[2] / "export"


def recipes() -> dict[str, Recipe]:
    """The recipes that come with ghostedge, by name. Raises: RecipeError."""
    return {path.stem: load_recipe(path) for path in sorted(_folder().glob("*.toml"))}


def find_recipe(name_or_path: str) -> Recipe:
    """A recipe by its name, or by the path of a file of your own. Raises: RecipeError, UsageError."""
    if name_or_path.endswith(".toml"):
        return load_recipe(Path(name_or_path))
    known = recipes()
    return known[choose("recipe", name_or_path, known)]


def load_recipe(path: Path) -> Recipe:
    """Read one recipe.

    Raises:
        RecipeError: unreadable, not TOML, a table or field missing, unknown or of the wrong type.
    """

    def wrong(what: str) -> RecipeError:
        return RecipeError(f"recipe {path}: {what}; export/README.md describes the format")

    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise RecipeError(f"cannot read recipe {path}: {exc.strerror or exc}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise wrong(f"not valid TOML ({exc})") from exc
    if unknown := sorted(set(data) - _TABLES):
        raise wrong(f"unknown entry {', '.join(map(repr, unknown))}")
    if missing := sorted({"target", "precision", "description", "bounds"} - set(data)):
        raise wrong(f"{', '.join(map(repr, missing))} is missing")
    for key, kind in (("target", str), ("precision", str), ("description", str), ("bounds", dict)):
        if not isinstance(data[key], kind):
            raise wrong(f"'{key}' must be a {'table' if kind is dict else 'string'}")
    if data["target"] not in STAGES:
        raise wrong(f"target '{data['target']}' is not one of {', '.join(sorted(STAGES))}")
    if path.stem != f"{data['target']}_{data['precision']}" and path.parent == _folder():
        raise wrong(f"its name must be {data['target']}_{data['precision']}.toml")
    try:
        bounds = Bounds(**{key: float(value) for key, value in data["bounds"].items()})
    except (TypeError, ValueError) as exc:
        raise wrong("[bounds] must hold the numbers min_snr_db and min_top1_agreement, nothing else") from exc
    fields = {key: tuple(v) if isinstance(v, list) else v for key, v in data.get("input", {}).items()}
    try:
        InputSpec.from_dict(InputSpec().to_dict() | fields)
    except ArtifactError as exc:
        raise wrong(f"[input]: {exc}") from exc
    return Recipe(
        name=path.stem,
        target=data["target"],
        precision=data["precision"],
        description=data["description"],
        input=fields,
        bounds=bounds,
        options=data.get("options", {}),
    )
