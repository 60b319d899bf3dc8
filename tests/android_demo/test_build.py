"""The APK that build.sh makes, the checks that it must pass, and that each of them bites."""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

DEMO = Path(__file__).resolve().parents[2] / "android_demo"
CORE = DEMO / "core" / "src"
JARS = DEMO / "build" / "jars"
APP = DEMO / "app" / "src" / "main"
RES = APP / "res"
ANDROID = "{http://schemas.android.com/apk/res/android}"


def run(*command: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    text = [str(part) for part in command]
    return subprocess.run(text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **settings)


def versions(check_apk: ModuleType) -> dict[str, str]:
    found: dict[str, str] = check_apk.versions()
    return found


@pytest.fixture(scope="module")
def api(check_apk: ModuleType, apk: Path) -> Any:
    """The public framework API with levels."""
    archive = DEMO / "build" / f"types-android-{check_apk.versions()['androidTypes']}.tgz"
    if not archive.is_file():
        pytest.skip("left out: the check against Android's public API needs npm")
    return check_apk.read_api(archive)


# -- the APK ------------------------------------------------------------------------------------------------------


def test_build_makes_a_signed_apk_with_its_model_mapped(apk: Path, check_apk: ModuleType) -> None:
    known = versions(check_apk)
    assert list(check_apk.package_faults(apk)) == []
    assert list(check_apk.badging_faults(apk, known["minSdk"], known["targetSdk"])) == []
    with zipfile.ZipFile(apk) as archive:
        entry = archive.getinfo("assets/models/linear_described.tflite")
        assert entry.compress_type == zipfile.ZIP_STORED
        model = CORE / "test" / "resources" / "linear_described.tflite"
        assert archive.read(entry) == model.read_bytes()
        golden = "assets/models/linear.golden.npz"
        assert archive.read(golden) == (CORE / "test" / "resources" / "linear.golden.npz").read_bytes()
        assets = [name for name in archive.namelist() if name.startswith("assets/")]
        assert sorted(assets) == [golden, entry.filename]


def test_the_code_is_public_api_of_min_sdk(apk: Path, check_apk: ModuleType, api: Any) -> None:
    assert list(check_apk.dex_faults(apk, api, int(versions(check_apk)["minSdk"]))) == []


def repacked(apk: Path, path: Path, change: Any) -> Path:
    """`apk` with entries as ``change(name, data, entry)`` gives them back: data, or (data, compression)."""
    with zipfile.ZipFile(apk) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            changed = change(entry.filename, old.read(entry))
            data, compression = changed if isinstance(changed, tuple) else (changed, entry.compress_type)
            new.writestr(entry.filename, data, compression)
    return path


def test_a_tampered_apk_is_refused(apk: Path, check_apk: ModuleType, tmp_path: Path) -> None:
    data = bytearray(apk.read_bytes())
    place = data.index(b"TFL3")
    data[place + 200] ^= 1
    tampered = tmp_path / "tampered.apk"
    tampered.write_bytes(data)
    assert any("signature does not verify" in fault for fault in check_apk.package_faults(tampered))


def test_a_compressed_model_is_refused(apk: Path, check_apk: ModuleType, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> Any:
        return (data, zipfile.ZIP_DEFLATED) if name.endswith(".tflite") else data

    faults = list(check_apk.package_faults(repacked(apk, tmp_path / "packed.apk", change)))
    assert any("linear_described.tflite is compressed" in fault for fault in faults)
    assert any("signature" in fault for fault in faults)


@pytest.mark.parametrize(("name", "refused"), [("models/x.golden.npz", False), ("x.bin", True)])
def test_an_apk_that_is_large_without_models_is_refused(
    apk: Path, check_apk: ModuleType, tmp_path: Path, name: str, refused: bool
) -> None:
    large = tmp_path / "large.apk"
    shutil.copy(apk, large)
    with zipfile.ZipFile(large, "a") as archive:
        archive.writestr(f"assets/{name}", random.Random(0).randbytes(4_000_000), zipfile.ZIP_DEFLATED)
    faults = list(check_apk.package_faults(large))
    assert any(fault.startswith("without models it has") for fault in faults) is refused


def test_badging_of_another_sdk_is_refused(apk: Path, check_apk: ModuleType) -> None:
    faults = list(check_apk.badging_faults(apk, "21", "35"))
    assert faults == ["its badging lacks sdkVersion:'21'"]


#: Class -> its body and the fault that it is refused for; None: it is allowed.
PLANTED = {
    "Lambda": ("static Runnable r() { return () -> System.out.println(); }", "invoke-custom"),
    "Hidden": (
        'static Object o() { return android.os.ServiceManager.getService("power"); }',
        "Hidden uses android.os.ServiceManager.getService/1, which is not public API",
    ),
    "Newer": (
        "static int t(android.os.PowerManager m) { return m.getCurrentThermalStatus(); }",
        "Newer uses android.os.PowerManager.getCurrentThermalStatus/0 of API 29, minSdk is 26",
    ),
    "Constant": (
        "static String f() { return android.os.Build.SOC_MODEL; }",
        "Constant uses android.os.Build.SOC_MODEL of API 31, minSdk is 26",
    ),
    "Inherited": (
        "static class A extends android.app.Activity { void own() { } "
        "int x() { own(); return getTaskId() + getDisplay().getDisplayId(); } }",
        "Inherited$A uses android.app.Activity.getDisplay/0 of API 30, minSdk is 26",
    ),
    "Api29": ("static int t(android.os.PowerManager m) { return m.getCurrentThermalStatus(); }", None),
    "Api30": (
        "static String f() { return android.os.Build.SOC_MODEL; }",
        "Api30 uses android.os.Build.SOC_MODEL of API 31, minSdk is 30",
    ),
}


def planted_apk(bodies: dict[str, str], folder: Path) -> Path:
    """An archive with the dex of these classes; the compiler and the dexer have nothing against them."""
    source, classes = folder / "Planted.java", folder / "classes"
    text = "".join(f"final class {name} {{ {body} }}\n" for name, body in bodies.items())
    source.write_text("package org.ghostedge.demo;\n" + text)
    done = run("javac", "--release", "8", "-Xlint:-options", "-cp", JARS / "android-all.jar", "-d", classes, source)
    assert done.returncode == 0, done.stdout
    dex, dx = folder / "classes.dex", ("java", "-cp", JARS / "dalvik-dx.jar", "com.android.dx.command.Main")
    done = run(*dx, "--dex", "--min-sdk-version=26", f"--output={dex}", classes)
    assert done.returncode == 0, done.stdout
    with zipfile.ZipFile(folder / "planted.apk", "w") as planted:
        planted.write(dex, "classes.dex")
    return folder / "planted.apk"


def test_code_that_fails_on_a_phone_is_refused(apk: Path, check_apk: ModuleType, api: Any, tmp_path: Path) -> None:
    planted = planted_apk({name: body for name, (body, _) in PLANTED.items()}, tmp_path)
    faults = list(check_apk.dex_faults(planted, api, 26))
    expected = [fault for _, fault in PLANTED.values() if fault is not None]
    for fault in expected:
        assert any(fault in each for each in faults), (fault, faults)
    assert len(faults) == len(expected), faults


def test_a_method_reference_is_refused(apk: Path, check_apk: ModuleType, tmp_path: Path) -> None:
    body = "static java.util.function.Supplier<String> s(Object o) { return o::toString; }"
    (fault,) = check_apk.dex_faults(planted_apk({"Reference": body}, tmp_path), None, 26)
    assert "invoke-custom" in fault


def test_newer_api_is_used_only_behind_a_check_of_the_version() -> None:
    uses = []
    for path in (APP / "java").rglob("*.java"):
        for line in path.read_text().splitlines():
            for level in re.findall(r"\bApi(\d+)\.", line):
                uses.append(path.name)
                assert f"Build.VERSION.SDK_INT >= {level} ?" in line, (path.name, line)
    assert uses


def test_build_says_what_it_is_given_wrongly(jars: Path, tmp_path: Path) -> None:
    done = run(DEMO / "build.sh", "--modles", tmp_path)
    assert done.returncode == 1
    assert "--models" in done.stdout
    if shutil.which("aapt2"):
        done = run(DEMO / "build.sh", "--models", tmp_path)
        assert done.returncode == 1
        assert "no .tflite in" in done.stdout


# -- libraries and memory pages of 16 KB --------------------------------------------------------------------------


def elf(*segments: tuple[int, int, int], kind: int = 1) -> bytes:
    """The head of a shared object of 64-bit ARM with segments of these (offset, address, alignment)."""
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 183, 1, 0, 64, 0, 0, 64, 56, len(segments), 64, 0, 0)
    return head + b"".join(
        struct.pack("<IIQQQQQQ", kind, 5, at, address, 0, 64, 64, to) for at, address, to in segments
    )


def apk_of(path: Path, library: bytes, at: int, compression: int = zipfile.ZIP_STORED) -> Path:
    """An archive whose one library's data begins at byte `at`."""
    entry = zipfile.ZipInfo("lib/arm64-v8a/libx.so")
    entry.compress_type, before = compression, 30 + len(entry.filename)
    entry.extra = struct.pack("<HH", 0xD935, at - before - 4).ljust(at - before, b"\0")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, library)
    return path


GOOD = elf((0, 0, 0x4000), (0x8000, 0x10000, 0x10000))


@pytest.mark.parametrize(
    ("library", "at", "fault"),
    [
        (GOOD, 0x4000, None),
        (
            elf((0, 0, 0x4000), (0x1000, 0x2000, 0x1000)),
            0x4000,
            "is aligned to 0x1000, memory pages of 16 KB need 0x4000",
        ),
        (elf((0x1000, 0, 0x4000)), 0x4000, "is aligned to 0x1000"),  # what it says is not what it is
        (elf((0, 0, 0x4000), kind=2), 0x4000, "is aligned to 0x0"),
        (GOOD, 0x1000, "does not begin at a multiple of 16 KB in the APK"),
        (GOOD[:-1], 0x4000, "its program headers are cut short"),
        (b"\x7fELF\1" + GOOD[5:], 0x4000, "not a 64-bit ELF file"),
        (b"", 0x4000, "not a 64-bit ELF file"),
    ],
)
def test_a_library_for_small_pages_is_refused(
    check_apk: ModuleType, tmp_path: Path, library: bytes, at: int, fault: str | None
) -> None:
    faults, notes = check_apk.library_faults(apk_of(tmp_path / "x.apk", library, at))
    assert notes == []
    assert len(faults) == (fault is not None)
    assert fault is None or fault in faults[0]


def test_a_compressed_library_needs_no_place_in_the_apk(check_apk: ModuleType, tmp_path: Path) -> None:
    """Android unpacks it; that ours is not compressed is checked beside."""
    faults, _ = check_apk.library_faults(apk_of(tmp_path / "x.apk", GOOD, 0x1000, zipfile.ZIP_DEFLATED))
    assert faults == []


@pytest.mark.skipif(shutil.which("gcc") is None, reason="left out: gcc is not here")
@pytest.mark.parametrize(("page", "right"), [(0x1000, False), (0x4000, True), (0x10000, True)])
def test_alignment_is_what_the_linker_was_told(check_apk: ModuleType, tmp_path: Path, page: int, right: bool) -> None:
    library = tmp_path / "libx.so"
    flags = (f"-Wl,-z,max-page-size={page}", f"-Wl,-z,common-page-size={page}", "-Wl,-z,norelro")
    done = run("gcc", "-shared", "-fPIC", "-nostdlib", *flags, "-x", "c", "-", "-o", library, input="int x = 1;")
    assert done.returncode == 0, done.stdout
    faults, _ = check_apk.library_faults(apk_of(tmp_path / "x.apk", library.read_bytes(), 0x4000))
    assert (faults == []) is right, faults


def test_centrals_library_is_named_and_another_in_its_place_refused(
    apk: Path, check_apk: ModuleType, tmp_path: Path
) -> None:
    faults, (note,) = check_apk.library_faults(apk)
    assert faults == []
    assert "libtensorflowlite_jni.so is aligned to 0x1000" in note
    assert f"org.tensorflow:tensorflow-lite {versions(check_apk)['tensorflowLite']}" in note

    def change(name: str, data: bytes) -> bytes:
        return data + b"x" if name.endswith(".so") else data

    faults, notes = check_apk.library_faults(repacked(apk, tmp_path / "other.apk", change))
    assert notes == []
    assert any("libtensorflowlite_jni.so is aligned to 0x1000" in fault for fault in faults)
    assert any("does not begin at a multiple of 16 KB" in fault for fault in faults)


def test_libraries_alone_are_checked_without_androids_tools(tmp_path: Path) -> None:
    said = {}
    for name, library in (("good", GOOD), ("bad", elf((0, 0, 0x1000)))):
        path = apk_of(tmp_path / f"{name}.apk", library, 0x4000)
        said[name] = run(sys.executable, DEMO / "check_apk.py", path, "--libraries", env={"PATH": ""})
    assert (said["good"].returncode, said["good"].stdout) == (0, "")
    assert (said["bad"].returncode, said["bad"].stdout.count("\n")) == (1, 1)


# -- the Gradle project is the same ------------------------------------------------------------------------------


def test_both_libraries_engines_compile_with_the_same_app(apk: Path, tmp_path: Path) -> None:
    """src/litert against what upstream's sources say of LiteRT; Interpreter is the one that Central's library has."""
    build, classes, config = apk.parent / "build", tmp_path / "classes", tmp_path / "BuildConfig.java"
    config.write_text('package org.ghostedge.demo; class BuildConfig { static final String LITERT_VERSION = "9"; }')
    # The core and R from the APK's classes; Engines, which they hold too, from its other source.
    jars = (JARS / "android-all.jar", build / "tflite" / "classes.jar", build / "tflite-api" / "classes.jar")
    folders = (APP, DEMO / "app" / "src" / "litert", Path(__file__).with_name("litert_api"))
    sources = [path for folder in folders for path in folder.rglob("*.java") if path.stem != "package-info"]
    done = run("javac", "--release", "8", "-Xlint:all,-options,-deprecation,-classfile", "-Werror", "-proc:none",
               "-cp", ":".join(map(str, (*jars, build / "classes"))), "-d", classes, config, *sources)  # fmt: skip
    assert done.returncode == 0, done.stdout
    used = {path.stem for path in (DEMO / "app" / "src" / "central").rglob("*.java")}
    assert used <= {path.stem for path in classes.rglob("*.class")}


def test_the_apk_says_which_library_it_holds() -> None:
    """What records name: it is said where the library is, and nowhere else."""
    files = [*(DEMO / "app" / "src").rglob("*.java"), *(CORE / "main").rglob("*.java")]
    sources = {path: path.read_text() for path in files}
    for name, folder in (("tflite-runtime", "central"), ("litert", "litert")):
        told = [path.relative_to(DEMO) for path, text in sources.items() if f'return "{name}"' in text]
        assert [path.parts[:3] for path in told] == [("app", "src", folder)]
    imports = [path for path, text in sources.items() if "import com.google.ai.edge" in text]
    assert {path.relative_to(DEMO).parts[2] for path in imports} == {"litert"}


def test_gradle_and_build_sh_share_sources_versions_and_packing(check_apk: ModuleType) -> None:
    app, core, script, pom = (
        (DEMO / name).read_text() for name in ("app/build.gradle.kts", "core/build.gradle.kts", "build.sh", "pom.xml")
    )
    # Standard source folders, nothing set otherwise: what Gradle compiles is what the script's find lists.
    assert "java.srcDir" not in app + core
    assert 'find core/src/main/java "$main/java" app/src/central/java "$work/gen"' in script
    assert 'create("litert")' in app
    assert "main=app/src/main" in script
    assert (APP / "AndroidManifest.xml").is_file()
    known = versions(check_apk)
    for key in ("minSdk", "targetSdk"):
        assert f"{key} = libs.versions.{key}.get().toInt()" in app
        assert f"$(version {key})" in script
    assert "versionName = libs.versions.app.get()" in app
    assert '--version-name "$(version app)"' in script
    assert "versionCode = libs.versions.appCode.get().toInt()" in app
    assert '--version-code "$(version appCode)"' in script
    # No version is written a second time.
    for text in (app, core, script, pom, (DEMO / "build.gradle.kts").read_text()):
        for key in ("tensorflowLite", "litert", "junit", "agp", "dx", "androidAll", "targetSdk", "androidTypes"):
            assert not re.search(rf"(?<![\w.-]){re.escape(known[key])}(?![\w.-])", text), key
    for library in ("libs.litert.runtime", "libs.litert.gpu"):
        assert f'"litertImplementation"({library})' in app
    assert '"-DtensorflowLite=$(version tensorflowLite)"' in script
    assert "VERSION_1_8" in app
    assert "VERSION_1_8" in core
    assert "javac --release 8" in script
    assert 'include("*.tflite", "*.golden.npz")' in app
    assert '"$models"/*.golden.npz' in script
    assert 'noCompress += "tflite"' in app
    assert "-0 .tflite" in script
    assert 'abiFilters += "arm64-v8a"' in app
    assert f'applicationId = "{check_apk.PACKAGE}"' in app
    assert f'namespace = "{check_apk.PACKAGE}"' in app
    assert f'package="{check_apk.PACKAGE}"' in script


# -- resources ---------------------------------------------------------------------------------------------------


def layouts(folder: str) -> dict[str, ElementTree.Element]:
    return {path.stem: ElementTree.parse(path).getroot() for path in (RES / folder).glob("*.xml")}


def ids(root: ElementTree.Element) -> set[str]:
    return {view.get(f"{ANDROID}id", "") for view in root.iter()} - {""}


def test_landscape_layouts_hold_the_same_views() -> None:
    upright = layouts("layout")
    lying = layouts("layout-land")
    assert lying.keys() == {"main", "photo"}
    for name, root in lying.items():
        assert ids(root) == ids(upright[name])


def test_views_are_labelled_large_enough_and_scale_with_the_text() -> None:
    for root in [*layouts("layout").values(), *layouts("layout-land").values()]:
        labelled = {view.get(f"{ANDROID}labelFor", "").rpartition("/")[2] for view in root.iter()}
        for view in root.iter():
            name = (view.get(f"{ANDROID}id") or "").rpartition("/")[2]
            if view.tag in ("Button", "Switch", "Spinner"):
                assert view.get(f"{ANDROID}minHeight") == "48dp", name
                assert view.get(f"{ANDROID}text") or name in labelled, name
            if view.tag in ("ImageView", "TextureView"):
                assert view.get(f"{ANDROID}contentDescription"), name
            assert "dp" not in view.get(f"{ANDROID}textSize", "")
            assert (
                not (view.get(f"{ANDROID}text") or "@").strip().lower().startswith(tuple("abcdefghijklmnopqrstuvwxyz"))
            )
    for style in (RES / "values").glob("styles.xml"):
        for size in re.findall(r'textSize">(.*?)<', style.read_text()):
            assert size.endswith("sp")


def test_every_string_is_used_and_none_is_missing() -> None:
    strings = {item.get("name") for item in ElementTree.parse(RES / "values" / "strings.xml").getroot()}
    text = "".join(
        path.read_text() for path in APP.rglob("*") if path.suffix in (".xml", ".java") and path.name != "strings.xml"
    )
    used = set(re.findall(r"(?:R\.string\.|@string/)(\w+)", text))
    assert used == strings


def test_night_colours_are_those_of_day() -> None:
    day, night = (
        {item.get("name") for item in ElementTree.parse(RES / folder / "colors.xml").getroot()}
        for folder in ("values", "values-night")
    )
    assert night == day - {"icon_background"}


def luminance(colour: str) -> float:
    """WCAG's relative luminance of #AARRGGBB."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (3, 5, 7)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("folder", ["values", "values-night"])
def test_text_stands_out_from_its_background(folder: str) -> None:
    colours = {item.get("name"): item.text or "" for item in ElementTree.parse(RES / folder / "colors.xml").getroot()}
    for name in ("text", "accent"):
        light, dark = sorted((luminance(colours[name]), luminance(colours["background"])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG AA


def test_the_manifest_keeps_the_contract_of_adb() -> None:
    root = ElementTree.parse(APP / "AndroidManifest.xml").getroot()
    activities = {activity.get(f"{ANDROID}name"): activity for activity in root.iter("activity")}
    for name in ("BenchmarkActivity", "ParityActivity"):
        assert activities[f"org.ghostedge.demo.{name}"].get(f"{ANDROID}exported") == "true"
