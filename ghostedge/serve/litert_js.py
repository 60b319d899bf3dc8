"""Find LiteRT.js, the runtime that the page runs models in: npm's own archive, fetched once and kept.

It is 12 MB of WebAssembly, ten times the package, so neither the clone nor the wheel holds it. Fetched is the archive
of one version, known by its SHA-256; the phone gets it from this computer. LiteRT.js is Google's, under Apache-2.0.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ghostedge.errors import FetchError
from ghostedge.files import sha256_file
from ghostedge.ghostnet.fetch import fetch

__all__ = ["SHA256", "VERSION", "LiteRtJs", "cache_folder", "find_litert_js", "read_litert_js"]

VERSION = "2.5.3"
SHA256 = "a97660833e9e7e1063c95e12016718881240b14f7438728a2f62785e912d30fd"

_NAME = f"litertjs-core-{VERSION}"
_ADVICE = f"fetch it elsewhere with 'npm pack @litertjs/core@{VERSION}' and name the file with --litert-js"

#: The largest that an archive may hold, unpacked: 2.5.3 holds 39 MB.
_MAX_BYTES = 256 * 2**20

#: Path in the archive -> the path below ``litert/`` that the page fetches.
_NEEDED = {
    "package/dist/index.js": "index.js",
    **{
        f"package/wasm/litert_wasm_{kind}internal.{suffix}": f"wasm/litert_wasm_{kind}internal.{suffix}"
        for kind in ("", "compat_", "threaded_", "jspi_")
        for suffix in ("js", "wasm")
    },
}


@dataclass(frozen=True)
class LiteRtJs:
    """LiteRT.js in memory.

    Attributes:
        version: e.g. ``"2.5.3"``.
        files: path below ``litert/`` -> bytes: ``index.js`` and, below ``wasm/``, four builds of the runtime.
    """

    version: str
    files: Mapping[str, bytes]


def cache_folder() -> Path:
    """Where what is fetched once is kept: ``$XDG_CACHE_HOME/ghostedge`` or ``~/.cache/ghostedge``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ghostedge"


def find_litert_js(archive: Path | None, on_progress: Callable[[int, int | None], None]) -> LiteRtJs:
    """LiteRT.js from `archive`, from the cache, or from npm.

    Args:
        archive: a file of ``npm pack @litertjs/core``, of whatever version; None for the version that is known here.
        on_progress: called with the bytes that are here and the bytes in all, while it is fetched.

    Raises:
        FetchError: it is neither here nor can be fetched, or `archive` is not LiteRT.js.
        OutputError: the cache cannot be written.
    """
    if archive is not None:
        return read_litert_js(archive)
    kept = cache_folder() / f"{_NAME}.tgz"
    if not kept.is_file() or sha256_file(kept) != SHA256:
        try:
            fetch(_NAME, cache_folder(), url=_address(), sha256=SHA256, on_progress=on_progress)
        except FetchError as exc:
            raise FetchError(
                f"LiteRT.js, which the page runs models in, cannot be fetched: {exc}; or {_ADVICE}"
            ) from exc
    return read_litert_js(kept)


def _address() -> str:
    """Where the registry has the archive, by npm's own settings. Raises: FetchError where there are none."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "")
    if not registry and (npm := shutil.which("npm")):
        asked = subprocess.run([npm, "config", "get", "registry"], capture_output=True, text=True, check=False)
        registry = asked.stdout.strip()
    if not registry.startswith(("https://", "http://")):
        raise FetchError("npm is not installed, nor does NPM_CONFIG_REGISTRY say where its packages are")
    return f"{registry.rstrip('/')}/@litertjs/core/-/core-{VERSION}.tgz"


def read_litert_js(archive: Path) -> LiteRtJs:
    """Read an archive of npm. Raises: FetchError for one that is damaged or of something else."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            if sum(member.size for member in tar) > _MAX_BYTES:
                raise FetchError(f"{archive} holds more than {_MAX_BYTES >> 20} MiB; this is another file")
            held = {name: _member(tar, name) for name in ("package/package.json", *_NEEDED)}
        version = str(json.loads(held.pop("package/package.json"))["version"])
    except OSError as exc:
        raise FetchError(f"{archive} cannot be read ({exc.strerror or exc}); {_ADVICE}") from exc
    except (tarfile.TarError, EOFError, KeyError, ValueError) as exc:
        raise FetchError(f"{archive} is not a whole archive of @litertjs/core ({exc}); {_ADVICE}") from exc
    return LiteRtJs(version, {_NEEDED[name]: content for name, content in held.items()})


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    return (file or io.BytesIO()).read()
