"""TLS on both sides: the contexts that connections are made with, and what a client's certificate says of it.

The rules of this file: TLS 1.2 and newer; towards clients only key exchange with forward secrecy and authenticated
ciphers; an upstream is verified unless the operator says otherwise; what cannot be used is a ConfigError with the path
of the key that names it, and its sentence holds nothing of what a file holds; nothing ever asks on a terminal.

It knows nothing of the gateway around it: the control process asks it whether a configuration can work.
"""

import fcntl
import ssl
import sys
import termios
from asyncio import BaseTransport
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from proxy.model.errors import ConfigError
from proxy.model.snapshot import ListenTls, UpstreamTls

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"
"""Of TLS 1.2, in OpenSSL's words. Those of TLS 1.3 are all of this kind."""
_PROTOCOLS: Final = ("http/1.1",)
_VERSIONS: Final[Mapping[str, ssl.TLSVersion]] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH: Final[Mapping[str, ssl.VerifyMode]] = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_TRUSTED: Final = b"-----BEGIN TRUSTED CERTIFICATE-----"

_SHORT: Final[Mapping[str, str]] = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
"""RFC 4514, section 3: attributes that have a short name. The others keep the name that OpenSSL knows them by."""
_SPECIAL: Final = frozenset('"+,;<>\\')


class _LockedError(Exception):
    """A key wants a passphrase."""


def server_context(spec: ListenTls) -> ssl.SSLContext:
    """For connections from clients. Raises ConfigError, its path below `listen.tls`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.minimum_version = _VERSIONS[spec.min_version]
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(_PROTOCOLS)
    _show(context, spec, "listen.tls")
    if spec.client_ca_file and spec.client_auth != "none":
        _trust(context, spec.client_ca_file, "listen.tls.client_ca_file")
        context.verify_mode = _CLIENT_AUTH[spec.client_auth]
    return context


def client_context(name: str, spec: UpstreamTls) -> ssl.SSLContext:
    """For connections to the upstream `name`. Raises ConfigError, its path below `upstreams.<name>.tls`."""
    path = f"upstreams.{name}.tls"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and name unless told otherwise
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.minimum_version = _VERSIONS[spec.min_version]
    context.set_alpn_protocols(_PROTOCOLS)
    if spec.ca_file:
        _trust(context, spec.ca_file, f"{path}.ca_file")
    elif not spec.insecure_skip_verify:
        context.load_default_certs()
    if spec.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the operator's own word; readiness fails by it
    if spec.cert_file or spec.key_file:
        _show(context, spec, path)
    return context


def subject(transport: BaseTransport) -> bytes:
    """The subject of the client's verified certificate as in RFC 4514, most specific part first; empty where there is
    none. Fit for a header: what is not printable ASCII is escaped."""
    certificate = transport.get_extra_info("peercert")
    if not certificate:
        return b""
    parts = [
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in part)
        for part in reversed(certificate.get("subject", ()))
    ]
    return ",".join(parts).encode("ascii")


def hold_ends(transport: BaseTransport) -> None:
    """What the peer has sent before it ended is not to be lost while it is held (`pause_reading`).

    uvloop ends a connection as soon as the socket has, whatever it has not handed on by then. So it must not see the
    end: with these limits the socket is not read further while anything waits.
    """
    transport.set_read_buffer_limits(high=1, low=0)  # type: ignore[attr-defined]  # a TLS transport has them


def taken(transport: BaseTransport) -> bool:
    """Whether the peer has acknowledged all that was written. A TLS transport's write buffer does not say it: it knows
    nothing of the socket's below it."""
    sock = transport.get_extra_info("socket")
    try:
        return sock is None or not int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return True  # it is closed


def reason(error: ssl.SSLError) -> str:
    """Why a handshake failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message.rstrip('.')}"
    return f"TLS failed: {(error.reason or 'the connection was closed').replace('_', ' ').lower()}"


def _show(context: ssl.SSLContext, spec: ListenTls | UpstreamTls, path: str) -> None:
    """Load the certificate that we show, and its key."""
    cert_path, key_path = f"{path}.cert_file", f"{path}.key_file"
    if not spec.cert_file or not spec.key_file:
        missing, other = (cert_path, "key_file") if not spec.cert_file else (key_path, "cert_file")
        raise ConfigError(f"is missing beside {other}; a certificate and its key go together", path=missing)
    if _CERTIFICATE not in _read(spec.cert_file, cert_path):
        raise ConfigError(f"{spec.cert_file} holds no certificate in PEM", path=cert_path)
    if b"PRIVATE KEY-----" not in _read(spec.key_file, key_path):
        raise ConfigError(f"{spec.key_file} holds no private key in PEM", path=key_path)
    try:
        context.load_cert_chain(spec.cert_file, spec.key_file, password=_locked)
    except _LockedError:
        problem = f"{spec.key_file} wants a passphrase; give the key without one, readable for Crossfade alone"
        raise ConfigError(problem, path=key_path) from None
    except ssl.SSLError as error:
        raise _unusable(spec, cert_path, key_path, error) from None
    except OSError as error:
        raise ConfigError(f"{spec.cert_file} cannot be read: {error.strerror}", path=cert_path) from error


def _unusable(spec: ListenTls | UpstreamTls, cert_path: str, key_path: str, error: ssl.SSLError) -> ConfigError:
    """OpenSSL does not say which of the two files it means."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return ConfigError(f"{spec.key_file} is not the key of the certificate in {spec.cert_file}", path=key_path)
    if not _parses(spec.cert_file):
        return ConfigError(f"{spec.cert_file} holds a certificate that cannot be read", path=cert_path)
    if error.reason and error.reason.startswith(("EE_", "CA_")):  # such as EE_KEY_TOO_SMALL, CA_MD_TOO_WEAK
        return ConfigError(f"{spec.cert_file} is refused as unsafe: {_words(error)}", path=cert_path)
    return ConfigError(f"{spec.key_file} holds a private key that cannot be read", path=key_path)


def _parses(file: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        return False
    return True


def _trust(context: ssl.SSLContext, file: str, path: str) -> None:
    """Load the CAs that may vouch for the other side."""
    content = _read(file, path)
    if _CERTIFICATE not in content and _TRUSTED not in content:
        what = "holds no certificate in PEM" if content.strip() else "is empty; it must hold the CAs' certificates"
        raise ConfigError(f"{file} {what}", path=path)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        raise ConfigError(f"{file} holds a certificate that cannot be read", path=path) from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", path=path) from error


def _read(file: str, path: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or 'it is no readable file'}", path=path) from error


def _locked(*_: Any) -> str:
    raise _LockedError  # without this OpenSSL would ask on the terminal


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "").replace("_", " ").lower()


def _escaped(value: str) -> str:
    """RFC 4514, section 2.4, and beyond it every byte of UTF-8 that is not printable ASCII as backslash and hex."""
    escaped = "".join(_escape(char) for char in value)
    if value.startswith((" ", "#")):
        escaped = "\\" + escaped
    if len(value) > 1 and value.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return escaped


def _escape(char: str) -> str:
    if char in _SPECIAL:
        return f"\\{char}"
    if " " <= char <= "~":
        return char
    return "".join(f"\\{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
