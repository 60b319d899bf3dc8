#!/usr/bin/env python3
"""Check an APK of the demo as far as it can be without a phone; exit code 1 and a line each for what is wrong.

    android_demo/check_apk.py APK [--types types-android-VERSION.tgz]
    android_demo/check_apk.py APK --libraries

- No ``invoke-custom``: the dexer makes that of lambdas and method references, and a phone refuses it.
- Every call and field of the framework is public API, and there at minSdk; classes named ApiNN may use what is there
  at level NN. The levels are those of npm's @nativescript/types-android.
- Package, minSdk, targetSdk, launchable activity, native code; models and native libraries stored, not compressed;
  aligned; signed.
- Native libraries can be mapped where memory pages have 16 KB. --libraries checks that alone, with no Android tools, of
  Gradle's APK too. One library that cannot is known and named, not refused: Maven Central has no other.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "org.ghostedge.demo"
OUR_CLASSES = "Lorg/ghostedge/"
MAX_BYTES_WITHOUT_MODELS = 6_000_000
PAGE = 0x4000
#: Libraries that are not made for pages of 16 KB and are let through: SHA-256 -> name.
KNOWN_SMALL_PAGES = {
    "a4f950ebb6ddb191cfaf77a4c821b577c5a3200a02b3b338bfa68d00c7446623": "org.tensorflow:tensorflow-lite 2.16.1",
}


@dataclass
class Api:
    """The public framework: dotted class name -> its parent, interfaces, and the level of each member.

    Attributes:
        parents: superclass and interfaces.
        members: ``name`` of a field, ``name/N`` of a method with N arguments (``<init>`` a constructor) -> level.
    """

    parents: dict[str, list[str]] = field(default_factory=dict)
    members: dict[str, dict[str, int]] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)

    def level(self, name: str, member: str) -> int | None:
        """The lowest level at which `member` of class `name` is there, inherited or its own; None: not public."""
        if name not in self.members:
            return None
        found = self.members[name].get(member)
        if found is not None:
            return max(found, self.levels[name])
        inherited = [self.level(parent, member) for parent in self.parents[name]]
        known = [level for level in inherited if level is not None]
        return max(min(known), self.levels[name]) if known else None


_CLASS = re.compile(
    r"export (?:abstract )?(?:class|interface) (\w+)(?:<.*?>)? ?(?:extends ([\w.]+))?.*?(?: implements (.*?))? ?\{"
)
_MODULE = re.compile(r"(?:export|declare) module (\w+) \{")
_MEMBER = re.compile(r"(?:public|protected) (?:static )?(?:abstract )?(\w+)(?:<[^(]*>)?(\(|:)")
_SINCE = re.compile(r"@since (\d+)")


def read_api(archive: Path) -> Api:
    """Parse the TypeScript declarations of the framework, levels 21 to 37."""
    with tarfile.open(archive) as tar:
        (name,) = (n for n in tar.getnames() if re.search(r"android-platform-\d+-\d+-merged\.d\.ts$", n))
        file = tar.extractfile(name)
        assert file is not None
        text = file.read().decode()
    api = Api()
    path: list[tuple[str, bool]] = []  # (name, whether it is a class); modules nest, a class holds members
    since = 1
    comment = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("/**") or comment:
            comment += line
            if line.endswith("*/"):
                level = _SINCE.search(comment)
                since, comment = (int(level[1]) if level else 1), ""
            continue
        if line == "}":
            path.pop()
        elif module := _MODULE.match(line):
            path.append((module[1], False))
        elif found := _CLASS.match(line):
            path.append((found[1], True))
            full = ".".join(part for part, _ in path)
            parents = [found[2]] if found[2] else []
            parents += [re.sub(r"<.*", "", p).strip() for p in (found[3] or "").split(",") if p.strip()]
            api.parents.setdefault(full, []).extend(parents)
            api.members.setdefault(full, {})
            api.levels[full] = since
        elif path and path[-1][1] and (member := _MEMBER.match(line)):
            full = ".".join(part for part, _ in path)
            key = member[1] if member[2] == ":" else _method(member[1], line[member.end() :])
            known = api.members[full].get(key)
            api.members[full][key] = since if known is None else min(known, since)
        elif line.endswith("{"):
            path.append(("{", False))
        since = 1
    return api


def _method(name: str, rest: str) -> str:
    """``name/N``: N counts the arguments between the parentheses that `rest` begins behind."""
    depth, count, empty = 0, 0, True
    for char in rest:
        if char == ")" and depth == 0:
            break
        empty = empty and char == " "
        depth += {"(": 1, "<": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(char, 0)
        if char == ">" and depth and not rest.startswith("=>"):
            depth -= 1
        count += char == "," and depth == 0
    name = "<init>" if name == "constructor" else name
    return f"{name}/{0 if empty else count + 1}"


@dataclass(frozen=True)
class Use:
    """One use of a class of the framework: by which of our classes, and of which member."""

    by: str
    owner: str
    member: str


_DEX_CLASS = re.compile(r"  Class descriptor  : '(L.*?;)'")
_DEX_SUPER = re.compile(r"  Superclass        : '(L.*?;)'")
_DEX_INVOKE = re.compile(r"\|[0-9a-f]{4}: invoke-[\w/-]+ \{.*?\}, (L[\w/$]+;)\.([\w<>$]+):(\(.*?\))")
_DEX_FIELD = re.compile(r"\|[0-9a-f]{4}: [is](?:get|put)[\w-]* .*?(L[\w/$]+;)\.([\w$]+):")


def own_members(listing: str) -> dict[str, set[str]]:
    """Class -> the fields and methods that it defines itself, named as in `Api.members`."""
    own: dict[str, set[str]] = {}
    by, name = "", ""
    for line in listing.splitlines():
        if start := _DEX_CLASS.match(line):
            by = start[1]
            own[by] = set()
        elif found := re.match(r"      name          : '(.*?)'", line):
            name = found[1]
        elif found := re.match(r"      type          : '(\(.*?\))?", line):
            own[by].add(name if found[1] is None else f"{name}/{_arguments(found[1])}")
    return own


def uses(listing: str) -> Iterator[Use]:
    """The uses of android.* by our own classes in what ``dexdump -d`` says."""
    supers = dict(zip(_DEX_CLASS.findall(listing), _DEX_SUPER.findall(listing), strict=True))
    own = own_members(listing)
    by = ""
    for line in listing.splitlines():
        if start := _DEX_CLASS.match(line):
            by = start[1]
        if not by.startswith(OUR_CLASSES):
            continue
        found = _DEX_INVOKE.search(line)
        if found:
            member = f"{found[2]}/{_arguments(found[3])}"
        else:
            found = _DEX_FIELD.search(line)
            if not found:
                continue
            member = found[2]
        owner = found[1]
        while owner in supers and member not in own[owner]:  # what a class inherits is named as its own
            owner = supers[owner]
        if owner.startswith("Landroid/"):
            yield Use(by[1:-1].replace("/", "."), owner[1:-1].replace("/", ".").replace("$", "."), member)


def _arguments(signature: str) -> int:
    return len(re.findall(r"\[*(?:L[^;]+;|[ZBSCIJFD])", signature[1:-1]))


def api_faults(listing: str, api: Api, min_sdk: int) -> Iterator[str]:
    """What our classes use of the framework and must not."""
    seen = set()
    for use in uses(listing):
        if use in seen:
            continue
        seen.add(use)
        guarded = re.search(r"\.Api(\d+)(?:\$|$)", use.by)
        allowed = int(guarded[1]) if guarded else min_sdk
        level = api.level(use.owner, use.member)
        if level is None:
            yield f"{use.by} uses {use.owner}.{use.member}, which is not public API"
        elif level > allowed:
            yield f"{use.by} uses {use.owner}.{use.member} of API {level}, minSdk is {allowed}"
    if not seen:
        yield "the dex uses no android.* at all: the check read nothing"


def said(*command: object) -> tuple[int, str]:
    """Exit code and output of a command."""
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def dex_faults(apk: Path, api: Api | None, min_sdk: int) -> Iterator[str]:
    """What is wrong with the code."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(apk) as archive:
        dex = Path(archive.extract("classes.dex", folder))
        code, text = said("dexdump", "-c", dex)
        if code:
            yield f"classes.dex is damaged: {text.strip().splitlines()[-1]}"
        code, listing = said("dexdump", "-d", dex)
        if code:
            yield "classes.dex cannot be read"
    if "invoke-custom" in listing:
        place = next(line for line in listing.splitlines() if "invoke-custom" in line)
        yield f"a lambda or method reference became invoke-custom, which phones refuse: {place.strip()}"
    if api is not None:
        yield from api_faults(listing, api, min_sdk)


def badging_faults(apk: Path, min_sdk: str, target_sdk: str) -> Iterator[str]:
    """What the package says about itself and should not."""
    code, text = said("aapt", "dump", "badging", apk)
    if code:
        yield f"aapt cannot read it: {text.strip()}"
    for wanted in (
        f"package: name='{PACKAGE}'",
        f"sdkVersion:'{min_sdk}'",
        f"targetSdkVersion:'{target_sdk}'",
        f"launchable-activity: name='{PACKAGE}.MainActivity'",
        "native-code: 'arm64-v8a'",
        "uses-permission: name='android.permission.CAMERA'",
        "uses-feature-not-required: name='android.hardware.camera'",
    ):
        if wanted not in text:
            yield f"its badging lacks {wanted}"
    extra = set(re.findall(r"uses-permission: name='(.*?)'", text)) - {"android.permission.CAMERA"}
    if extra:
        yield f"it asks for more than the camera: {', '.join(sorted(extra))}"


def package_faults(apk: Path) -> Iterator[str]:
    """What is wrong with the archive."""
    with zipfile.ZipFile(apk) as archive:
        models = 0
        for entry in archive.infolist():
            stored = entry.filename.endswith((".tflite", ".so"))
            if stored and entry.compress_type != zipfile.ZIP_STORED:
                yield f"{entry.filename} is compressed, so that it cannot be mapped"
            models += entry.compress_size if entry.filename.endswith((".tflite", ".golden.npz")) else 0
        if "lib/arm64-v8a/libtensorflowlite_jni.so" not in archive.namelist():
            yield "TensorFlow Lite's library is not in it"
    size = apk.stat().st_size - models
    if size > MAX_BYTES_WITHOUT_MODELS:
        yield f"without models it has {size:,} bytes, more than {MAX_BYTES_WITHOUT_MODELS:,}"
    code, _ = said("zipalign", "-c", "4", apk)
    if code:
        yield "it is not aligned"
    code, text = said("apksigner", "verify", "-v", apk)
    if code or "Verified using v2 scheme (APK Signature Scheme v2): true" not in text:
        yield f"its signature does not verify: {next(iter(text.strip().splitlines()), '')}"


def alignment(library: bytes) -> int:
    """The largest memory pages, bytes, that can map all loaded segments of a 64-bit little-endian ELF file (elf(5)).

    That is the power of two in what the header calls its alignment, and in what its place in the file is off.

    Raises:
        ValueError: it is none.
    """
    if library[:6] != b"\x7fELF\x02\x01" or len(library) < 64:
        raise ValueError("not a 64-bit ELF file")
    (table,), (size, count) = struct.unpack_from("<Q", library, 32), struct.unpack_from("<HH", library, 54)
    if size < 56 or table + size * count > len(library):
        raise ValueError("its program headers are cut short")
    headers = (struct.unpack_from("<IIQQQQQQ", library, table + size * index) for index in range(count))
    loaded = [align | (offset - address) for kind, _, offset, address, _, _, _, align in headers if kind == 1]
    return min((value & -value for value in loaded), default=0)


def data_offset(apk: Path, entry: zipfile.ZipInfo) -> int:
    """Where an entry's data begins: its local header may be longer than the one of the directory."""
    with apk.open("rb") as file:
        file.seek(entry.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return entry.header_offset + 30 + int(name) + int(extra)


def library_faults(apk: Path) -> tuple[list[str], list[str]]:
    """Which native libraries pages of 16 KB cannot map. Returns: faults, and one note for each that is known for it."""
    faults, notes = [], []
    with zipfile.ZipFile(apk) as archive:
        entries = [entry for entry in archive.infolist() if re.fullmatch(r"lib/arm64-v8a/.*\.so", entry.filename)]
        if not entries:
            faults.append("it holds no native library")
        for entry in entries:
            library = archive.read(entry)
            try:
                pages = alignment(library)
            except ValueError as exc:
                faults.append(f"{entry.filename}: {exc}")
                continue
            known = KNOWN_SMALL_PAGES.get(hashlib.sha256(library).hexdigest())
            if pages < PAGE:
                text = f"{entry.filename} is aligned to {pages:#x}, memory pages of 16 KB need {PAGE:#x}"
                (notes if known else faults).append(f"{text} ({known})" if known else text)
            if entry.compress_type == zipfile.ZIP_STORED and data_offset(apk, entry) % PAGE:
                faults.append(f"{entry.filename} does not begin at a multiple of 16 KB in the APK")
    return faults, notes


def versions() -> dict[str, str]:
    """The versions of the catalog that Gradle and build.sh share."""
    text = (Path(__file__).parent / "gradle" / "libs.versions.toml").read_text()
    return dict(re.findall(r'^(\w+) = "(.*)"$', text, re.MULTILINE))


def other_faults(apk: Path, types: Path | None) -> list[str]:
    """What is wrong with all but the libraries' alignment."""
    known = versions()
    if types is None or not types.is_file():
        print("check_apk: LEFT OUT: that only public API of minSdk is used (npm is not here)", file=sys.stderr)
        api = None
    else:
        api = read_api(types)
    return [
        *package_faults(apk),
        *badging_faults(apk, known["minSdk"], known["targetSdk"]),
        *dex_faults(apk, api, int(known["minSdk"])),
    ]


def main() -> int:
    """Check, and say what is wrong. Returns: the exit code."""
    parser = argparse.ArgumentParser(description="Check an APK of the demo.")
    parser.add_argument("apk", type=Path)
    parser.add_argument("--types", type=Path, help="npm's @nativescript/types-android, packed")
    parser.add_argument("--libraries", action="store_true", help="check the native libraries' alignment alone")
    args = parser.parse_args()
    faults, notes = library_faults(args.apk)
    for note in notes:
        print(f"check_apk: {args.apk.name}: NOT FOR PHONES WITH 16 KB PAGES: {note}", file=sys.stderr)
    if not args.libraries:
        faults += other_faults(args.apk, args.types)
    for fault in faults:
        print(f"check_apk: {args.apk.name}: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
