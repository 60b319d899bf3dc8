"""The pages that are made from the code: commands from their parsers, Python from its names, recipes, file formats."""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import ghostedge
from ghostedge import errors
from ghostedge.cli.main import COMMANDS, command_parsers
from ghostedge.data import golden
from ghostedge.evaluation import columns
from ghostedge.evaluation.ledger import LedgerMetadata
from ghostedge.latency.records import SCHEMA, VERIFICATION_SCHEMA
from ghostedge.manifest import Manifest
from ghostedge.model import InputSpec
from ghostedge.pipeline.recipe import Recipe, recipes
from ghostedge.stored import json_schema


@functools.cache
def pages() -> Mapping[str, str]:
    """Path in the site -> Markdown."""
    found = {f"commands/{name}.md": command_page(parser) for name, parser in command_parsers().items()}
    assert found.keys() == {f"commands/{name}.md" for name in COMMANDS}
    found |= {f"formats/{each.name}.md": each.page() for each in FORMATS}
    found |= {f"formats/{each.name}.schema.json": each.schema_text() for each in FORMATS if each.published}
    found |= {
        "python/functions.md": functions_page(),
        "python/types.md": types_page(),
        "python/errors.md": errors_page(),
    }
    return {**found, "every-recipe.md": recipes_page(), "reference.md": overview(found)}


def overview(found: Mapping[str, str]) -> str:
    """Everything that can be looked up, with a line each."""
    commands = [
        f"| [`{name}`](commands/{name}.md) | {parser.description} |" for name, parser in command_parsers().items()
    ]
    formats = [f"| [{each.title}](formats/{each.name}.md) | {each.about} |" for each in FORMATS]
    return "\n".join(
        [
            "# Reference\n\n## Commands\n\n| Command | What it does |\n|---|---|",
            *commands,
            "\n[Exit codes](exit-codes.md) are the same for all of them.\n",
            "## Python\n",
            "[By example](api.md), then every [function](python/functions.md), [type](python/types.md) and "
            "[error](python/errors.md).\n",
            "## Recipes\n",
            "[Which to take, and what one holds](recipes.md); [every recipe](every-recipe.md) with its bounds.\n",
            "## File formats\n\n| File | What it is |\n|---|---|",
            *formats,
            "",
        ]
    )


# -- commands ----------------------------------------------------------------------------------------------------------


def command_page(parser: argparse.ArgumentParser) -> str:
    """A command: what it does, its examples, its arguments under the headings of its help."""
    about, _, rest = (parser.epilog or "").partition("\n\n")
    examples = textwrap.dedent(about.removeprefix("examples:\n")).rstrip()
    formatter = parser._get_formatter()
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups)
    usage = textwrap.dedent(formatter.format_help()).strip().removeprefix("usage: ")
    lines = [
        f"# {parser.prog}\n",
        f"{parser.description}\n",
        "## Examples\n",
        "<!-- not run: they are held to the parser of the command -->",
        f"```sh\n{examples}\n```\n",
    ]
    lines += [f"{_prose(paragraph)}\n" for paragraph in rest.strip().split("\n\n") if paragraph]
    lines += ["## Arguments\n", f"```text\n{usage}\n```\n"]
    common = [group for group in parser._action_groups if str(group.title).startswith("output")]
    for group in sorted(parser._action_groups, key=common.__contains__):  # those of every command at the end
        actions = [action for action in group._group_actions if action.help is not argparse.SUPPRESS]
        if not actions or [action.dest for action in actions] == ["help"]:
            continue
        if group.title not in ("positional arguments", "options"):
            lines.append(f"### {str(group.title).capitalize()}\n")
        lines += [
            "| Argument | Meaning |",
            "|---|---|",
            *(_argument_row(action) for action in actions if action.dest != "help"),
            "",
        ]
    return "\n".join(lines)


def _prose(paragraph: str) -> str:
    return _escaped(re.sub(r"(?<!\w)(--[\w-]+|ghostedge [\w-]+)", r"`\1`", " ".join(paragraph.split())))


def _argument_row(action: argparse.Action) -> str:
    value = action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else "")
    several = "..." if action.nargs == "+" else ""
    name = " ".join(filter(None, [", ".join(action.option_strings), f"{value}{several}" if action.nargs != 0 else ""]))
    needed = " **Required.**" if action.required else ""
    return f"| `{name or action.dest}` | {_escaped(str(action.help).replace('%%', '%'))}{needed} |"


# -- Python ------------------------------------------------------------------------------------------------------------


def functions_page() -> str:
    """Every public function, from its docstring."""
    names = [name for name in ghostedge.__all__ if name.islower()]
    return _python("Functions", "`import ghostedge` offers them; [by example](../api.md) they are shorter.", names)


def types_page() -> str:
    """Every public class but the errors."""
    names = [name for name in ghostedge.__all__ if not name.islower() and not name.endswith("Error")]
    return _python("Types", "What functions take and give. All names are in `ghostedge`.", names)


def _python(title: str, about: str, names: list[str]) -> str:
    homes = {name: module for module, names in ghostedge._HOMES.items() for name in names.split()}
    return "\n".join([f"# {title}\n\n{about}\n", *(f"::: ghostedge.{homes[name]}.{name}\n" for name in names)])


def errors_page() -> str:
    """The tree of errors, and each of them."""
    opening, tree, closing = re.split(r"\n::\n\n|\n\n(?=A message)", inspect.getdoc(errors) or "", maxsplit=2)
    classes = [name for name in errors.__all__ if name[0].isupper()]
    return "\n".join(
        [
            f"# Errors\n\n{opening}\n\n```text\n{textwrap.dedent(tree)}\n```\n\n{closing}\n",
            *(f"::: ghostedge.errors.{name}\n" for name in classes),
        ]
    )


# -- recipes -----------------------------------------------------------------------------------------------------------


def recipes_page() -> str:
    """Every recipe that comes with ghostedge: what it makes, what it must keep to, and its options."""
    lines = ["# Every recipe\n", "Read from `export/*.toml`. [Which to take, and what the fields mean](recipes.md).\n"]
    lines += ["| Recipe | Makes | Least SNR, dB | Least top-1 agreement | Options |", "|---|---|---|---|---|"]
    for name, recipe in recipes().items():
        options = "<br>".join(f"`{key} = {json.dumps(value)}`" for key, value in recipe.options.items())
        bounds = recipe.bounds
        lines.append(
            f"| `{name}` | {_escaped(recipe.description)} | {bounds.min_snr_db:g} | {bounds.min_top1_agreement:g} "
            f"| {options} |"
        )
    return "\n".join([*lines, ""])


# -- file formats ------------------------------------------------------------------------------------------------------


class Format(NamedTuple):
    """A file that ghostedge writes, or reads from its users.

    Attributes:
        name: of the page.
        title: for people.
        about: one line.
        schema: of the type that it is read into; None where that is no record.
        text: what the schema cannot say.
        hidden: fields of the type that are not in the file.
        published: whether the schema is a contract, which other programs may check a file with.
    """

    name: str
    title: str
    about: str
    schema: Mapping[str, Any] | None
    text: str = ""
    hidden: tuple[str, ...] = ()
    published: bool = False

    def schema_text(self) -> str:
        """The JSON Schema as a file."""
        return json.dumps(self.schema, indent=2) + "\n"

    def page(self) -> str:
        """Its fields, a table an object."""
        lines = [f"# {self.title}\n", f"{self.about}.\n", f"{self.text}\n"]
        if self.published:
            lines.append(f"[JSON Schema]({self.name}.schema.json)\n")
        for title, described in _objects(self.schema or {"properties": {}}):
            if rows := [row for row in _rows(described) if row.split("`")[1] not in self.hidden]:
                lines += [f"## {title}\n", "| Field | Type | Meaning |", "|---|---|---|", *rows, ""]
        return "\n".join(lines)


def _objects(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a schema by name: its own first."""
    first = str(schema.get("$ref", "")).rpartition("/")[2]
    defined = schema.get("$defs", {})
    if not first:
        yield "Fields", schema
    for name in sorted(defined, key=lambda name: name != first):
        if "properties" in defined[name]:
            yield "Fields" if name == first else name, defined[name]


def _rows(described: Mapping[str, Any]) -> Iterator[str]:
    meanings = _attributes(described.get("description", ""))
    for name, field in described.get("properties", {}).items():
        optional = "" if name in described.get("required", ()) else ", optional"
        said = field.get("description") or meanings.get(name, "")
        yield f"| `{name}` | {_type(field)}{optional} | {_escaped(said)} |"


def _attributes(docstring: str) -> dict[str, str]:
    """Field -> what the section ``Attributes`` of a class's docstring says of it."""
    section = textwrap.dedent(docstring.partition("Attributes:\n")[2].partition("\n\n")[0])
    entries = re.findall(r"^(\w+): (.*(?:\n +.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _type(field: Mapping[str, Any]) -> str:
    """A type of a JSON Schema in words, e.g. ``number or null``; other objects of the page by their name."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{re.sub(r'[^a-z0-9_]', '', name.lower())})"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(map(_type, field["anyOf"])))
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    kind = field.get("type", "anything")
    if kind == "array" and field.get("items"):
        return f"list of {_type(field['items'])}"
    if kind == "object" and isinstance(field.get("additionalProperties"), Mapping) and field["additionalProperties"]:
        return f"name -> {_type(field['additionalProperties'])}"
    return str(kind)


def _escaped(text: str) -> str:
    """Text in a cell of a table: its bars and angle brackets are no markup, double backticks are single ones."""
    return text.replace("|", "\\|").replace("``", "`").replace("<", "&lt;")


def _module_text(module: Any) -> str:
    """A module's docstring as Markdown: what follows ``::`` is a block of text already."""
    return re.sub(r"::\n\n", ":\n\n", inspect.getdoc(module) or "").replace("``", "`")


#: In the order of the way of the data. A new format gets an entry here.
FORMATS = (
    Format(
        "recipe",
        "Recipe, `NAME.toml`",
        "What one artifact shall be: TOML, its name saying what it makes",
        json_schema(Recipe),
        "Options are those of the stage that makes the format: [the recipes' page](../recipes.md).",
        hidden=("name", "file"),
    ),
    Format(
        "manifest",
        "`manifest.json`",
        "What an export made from what, by which tools, and how close it is; beside the artifacts",
        json_schema(Manifest),
        "With them `schema_version`, which is 1. `golden` also holds `key`, the hash of everything that decides its "
        "bytes. The SNR of identical logits, which is infinite, is null.",
        hidden=("golden_key",),
    ),
    Format(
        "input-spec",
        "Input description",
        "What a model's input holds: in the recipe, in the manifest, in every artifact, and `--input-spec F`",
        json_schema(InputSpec),
        "Artifacts carry it as JSON under the key `ghostedge`: ONNX `metadata_props`, OpenVINO `rt_info`, MindIR "
        "`user_info`, TFLite the associated file `ghostedge.json`; there with `labels`, `precision`, `calibration`, "
        "`source_sha256` and `bounds`.",
    ),
    Format(
        "golden", "Golden vectors, `NAME.golden.npz`", "Pictures with MindSpore's answers", None, _module_text(golden)
    ),
    Format(
        "ledger",
        "Ledger, Parquet or JSON Lines",
        "What one model answered for each image of a data set",
        json_schema(LedgerMetadata),
        f"{_module_text(columns)}\n\nThe key-value metadata of the Parquet file holds, under `ghostedge`, JSON with "
        "`schema_version` 1 and the fields below. The Android demo writes the same as JSON Lines.",
    ),
    Format(
        "latency-record",
        "Latency record",
        "One timed run of one model on one device: JSON",
        json.loads(SCHEMA.read_text(encoding="utf-8")),
        published=True,
    ),
    Format(
        "verification-record",
        "Verification record",
        "One check of a model's answers on one device: JSON",
        json.loads(VERIFICATION_SCHEMA.read_text(encoding="utf-8")),
        published=True,
    ),
)
