"""Run the server until Ctrl-C: the socket, the certificate, the address and its QR code."""

from __future__ import annotations

import contextlib
import datetime
import errno
import io
import ipaddress
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ghostedge.errors import DeviceError, UsageError
from ghostedge.files import scratch_folder
from ghostedge.lazy import require
from ghostedge.signals import stopping

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Address", "Place", "certificate", "check_installed", "listen", "qr_code", "serve_until_stopped"]

#: The address of a network that a packet to elsewhere would leave by; no packet is sent.
_ELSEWHERE = ("192.0.2.1", 9)

_CERTIFICATE_DAYS = 7


@dataclass(frozen=True)
class Place:
    """Where to listen.

    Attributes:
        port: 0 for any that is free.
        lan: whether the network may connect, or this machine alone.
        https: whether to encrypt, with a certificate made on the spot.
    """

    port: int = 0
    lan: bool = False
    https: bool = False


@dataclass(frozen=True)
class Address:
    """A socket that listens, and what phones type.

    Attributes:
        socket: bound, listening.
        host: the address that others reach it by.
        url: without the token, ``"http://192.168.1.7:8123"``.
    """

    socket: socket.socket
    host: str
    url: str


def check_installed() -> None:
    """Look for what serving needs, before anything is opened. Raises: MissingExtraError."""
    require("starlette", "serve")
    require("uvicorn", "serve")
    require("segno", "serve")


def listen(place: Place) -> Address:
    """Bind the port.

    Raises:
        UsageError: the port is taken, or not allowed.
        DeviceError: there is no network to serve.
    """
    host = _own_address() if place.lan else "127.0.0.1"
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("0.0.0.0" if place.lan else host, place.port))
        bound.listen(128)
    except OSError as exc:
        bound.close()
        if exc.errno in (errno.EADDRINUSE, errno.EACCES):
            reason = "taken by another program" if exc.errno == errno.EADDRINUSE else "not allowed to you"
            raise UsageError(f"--port {place.port} is {reason}; name another, or leave it out for a free one") from exc
        raise UsageError(f"--port {place.port} cannot be opened: {exc.strerror}") from exc
    scheme = "https" if place.https else "http"
    return Address(bound, host, f"{scheme}://{host}:{bound.getsockname()[1]}")


def _own_address() -> str:
    """This machine's address in its network. Raises: DeviceError where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(_ELSEWHERE)
        found: str = probe.getsockname()[0]
        if not ipaddress.ip_address(found).is_loopback:
            return found
    raise DeviceError("--lan: this computer is in no network; connect it to the phone's Wi-Fi, or leave --lan out")


def certificate(host: str) -> tuple[bytes, str]:
    """A self-signed certificate for `host`, and its key: (PEM, SHA-256 fingerprint as browsers show it)."""
    require("cryptography", "serve")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ghostedge serve")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ipaddress.ip_address(host)), x509.DNSName("localhost")]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=_CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, made.fingerprint(hashes.SHA256()).hex(":").upper()


def qr_code(text: str, *, colours: bool = False) -> str:
    """A QR code of `text` for a terminal, of block characters.

    Args:
        text: what it holds.
        colours: say that blocks are white and the rest black, so that a terminal with a light ground does not turn the
            code into its negative, which some phones do not read.
    """
    out = io.StringIO()
    require("segno", "serve").make(text, error="l").terminal(out, compact=True, border=2)
    lines = out.getvalue().splitlines()
    return "\n".join(f"\x1b[97;40m{line}\x1b[0m" if colours else line for line in lines)


@contextlib.contextmanager
def _certificate_file(pem: bytes | None) -> Iterator[dict[str, Any]]:
    """What uvicorn needs to encrypt; the key is readable to this user alone, and gone afterwards, after a kill too."""
    if pem is None:
        yield {}
        return
    with scratch_folder(prefix="ghostedge-serve-") as folder:
        path = folder / "certificate.pem"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        yield {"ssl_certfile": path}


def serve_until_stopped(
    app: Any,
    address: Address,
    pem: bytes | None = None,
    on_start: Callable[[uvicorn.Server], None] = lambda server: None,
) -> None:
    """Answer requests until Ctrl-C or SIGTERM; what is under way is finished first.

    Args:
        app: what `ghostedge.serve.app.make_app` gave.
        address: what `listen` gave.
        pem: what `certificate` gave; None to serve plain HTTP.
        on_start: called with the server before it runs; its ``should_exit`` stops it.
    """
    uvicorn = require("uvicorn", "serve")
    with _certificate_file(pem) as encrypted:
        config = uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            limit_concurrency=512,
            timeout_graceful_shutdown=3,
            **encrypted,
        )
        server = uvicorn.Server(config)
        on_start(server)
        server.capture_signals = contextlib.nullcontext  # it would raise them again at its end

        def stop() -> None:
            server.should_exit = True

        with stopping(stop):
            server.run(sockets=[address.socket])
