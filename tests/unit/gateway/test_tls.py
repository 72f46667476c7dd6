"""What the TLS files of a configuration may be, what is said of those that cannot be used, and subjects as text."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.tls import client_context, server_context, subject
from proxy.model.errors import ConfigError
from proxy.model.snapshot import ListenTls, UpstreamTls
from tests.certificates import NAME, Authority

GARBAGE = "-----BEGIN {0}-----\nAAAA\n-----END {0}-----\n"


class Files:
    """Good files, for a test to spoil one of them."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.cert, self.key = map(Path, self.authority.files(NAME))
        self.ca_file = Path(self.authority.ca_file)

    def listen(self) -> ListenTls:
        return ListenTls(str(self.cert), str(self.key), client_ca_file=str(self.ca_file), client_auth="required")

    def upstream(self) -> UpstreamTls:
        return UpstreamTls(str(self.ca_file), cert_file=str(self.cert), key_file=str(self.key))

    def lock(self) -> None:
        key = load_pem_private_key(self.key.read_bytes(), None)
        locked = BestAvailableEncryption(b"open sesame")
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_towards_clients_only_what_is_safe(files: Files) -> None:
    context = server_context(files.listen())
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["protocol"] == "TLSv1.3" or cipher["name"].startswith("ECDHE-")


@pytest.mark.parametrize(
    ("client_auth", "mode"),
    [("none", ssl.CERT_NONE), ("optional", ssl.CERT_OPTIONAL), ("required", ssl.CERT_REQUIRED)],
)
def test_client_certificates(files: Files, client_auth: str, mode: ssl.VerifyMode) -> None:
    spec = ListenTls(str(files.cert), str(files.key), str(files.ca_file), client_auth, min_version="1.3")
    context = server_context(spec)
    assert context.verify_mode is mode
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_an_upstream_is_verified_unless_the_operator_says_otherwise(files: Files) -> None:
    for spec in (UpstreamTls(), UpstreamTls(server_name="a.example"), files.upstream()):
        context = client_context("agent", spec)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    context = client_context("agent", UpstreamTls(insecure_skip_verify=True))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_its_own_authority_stands_in_place_of_the_systems(files: Files) -> None:
    context = client_context("agent", files.upstream())
    assert context.get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert(files.ca_file.read_text())]


SPOILT: list[tuple[str, str, Any, str]] = [
    ("cert", "cert_file", None, "{cert} cannot be read: No such file or directory"),
    ("key", "key_file", None, "{key} cannot be read: No such file or directory"),
    ("ca_file", "ca_file", None, "{ca_file} cannot be read: No such file or directory"),
    ("cert", "cert_file", "", "{cert} holds no certificate in PEM"),
    ("key", "key_file", "hello", "{key} holds no private key in PEM"),
    ("ca_file", "ca_file", " \n", "{ca_file} is empty; it must hold the CAs' certificates"),
    ("ca_file", "ca_file", "hello", "{ca_file} holds no certificate in PEM"),
    ("cert", "cert_file", GARBAGE.format("CERTIFICATE"), "{cert} holds a certificate that cannot be read"),
    ("key", "key_file", GARBAGE.format("PRIVATE KEY"), "{key} holds a private key that cannot be read"),
    ("ca_file", "ca_file", GARBAGE.format("CERTIFICATE"), "{ca_file} holds a certificate that cannot be read"),
]


@pytest.mark.parametrize(("file", "key", "content", "problem"), SPOILT)
def test_a_spoilt_file_is_named_with_the_key_that_names_it(
    files: Files, file: str, key: str, content: str | None, problem: str
) -> None:
    path: Path = getattr(files, file)
    path.unlink()
    if content is not None:
        path.write_text(content)
    sentence = problem.format(cert=files.cert, key=files.key, ca_file=files.ca_file)
    with pytest.raises(ConfigError) as listening:
        server_context(files.listen())
    assert listening.value.problem == sentence
    assert listening.value.path == f"listen.tls.{key.replace('ca_file', 'client_ca_file')}"
    with pytest.raises(ConfigError) as calling:
        client_context("agent", files.upstream())
    assert (calling.value.problem, calling.value.path) == (sentence, f"upstreams.agent.tls.{key}")


def test_a_key_of_another_certificate(files: Files) -> None:
    _, others = files.authority.files("other.example")
    files.key.write_bytes(Path(others).read_bytes())
    with pytest.raises(ConfigError) as raised:
        server_context(files.listen())
    assert raised.value.problem == f"{files.key} is not the key of the certificate in {files.cert}"
    assert raised.value.path == "listen.tls.key_file"


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(files: Files) -> None:
    files.lock()
    said = r"tls\.key_file: .* wants a passphrase; give the key without one"
    with pytest.raises(ConfigError, match=said):
        server_context(files.listen())
    with pytest.raises(ConfigError, match=said):
        client_context("agent", files.upstream())


def test_a_directory_is_no_file(files: Files) -> None:
    with pytest.raises(ConfigError, match=r"listen\.tls\.cert_file: .* cannot be read: Is a directory"):
        server_context(ListenTls(str(files.cert.parent), str(files.key)))


def test_a_certificate_alone_is_not_enough(files: Files) -> None:
    with pytest.raises(ConfigError, match=r"upstreams\.agent\.tls\.key_file: is missing beside cert_file"):
        client_context("agent", UpstreamTls(cert_file=str(files.cert)))


def test_no_sentence_holds_what_a_file_holds(files: Files) -> None:
    secret = files.key.read_text()
    files.cert.write_text(secret)
    with pytest.raises(ConfigError) as raised:
        server_context(files.listen())
    assert not any(line in str(raised.value) for line in secret.splitlines() if line)


# --- subjects


class Transport:
    """A transport that knows a certificate, as `ssl` shows it."""

    def __init__(self, *parts: tuple[tuple[str, str], ...]) -> None:
        self.certificate = {"subject": parts} if parts else None

    def get_extra_info(self, name: str) -> Any:
        return self.certificate if name == "peercert" else None


def of(*parts: tuple[tuple[str, str], ...]) -> bytes:
    return subject(Transport(*parts))  # type: ignore[arg-type]  # as much of a transport as is asked for


def test_no_certificate_is_no_subject() -> None:
    assert of() == b""


def test_the_most_specific_part_comes_first_with_short_names() -> None:
    assert (
        of(
            (("countryName", "DE"),),
            (("organizationName", "Example"),),
            (("organizationalUnitName", "Sales"), ("commonName", "J. Smith")),
        )
        == b"OU=Sales+CN=J. Smith,O=Example,C=DE"
    )


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ('James "Jim" Smith, III', b'James \\"Jim\\" Smith\\, III'),
        ("a+b;c<d>e\\f", b"a\\+b\\;c\\<d\\>e\\\\f"),
        ("#hash", b"\\#hash"),
        (" both ", b"\\ both\\ "),
        (" ", b"\\ "),
        ("Before\rAfter\n\x00", b"Before\\0DAfter\\0A\\00"),
        ("Lu\u010di\u0107", b"Lu\\C4\\8Di\\C4\\87"),
        ("\x7f", b"\\7F"),
        ("", b""),
    ],
)
def test_a_value_is_escaped(value: str, escaped: bytes) -> None:
    assert of((("commonName", value),)) == b"CN=" + escaped


@given(st.text())
def test_no_value_breaks_a_header_or_out_of_its_place(value: str) -> None:
    said = of((("organizationName", "x"),), (("commonName", value),))
    assert all(0x20 <= byte <= 0x7E for byte in said)
    assert said.endswith(b",O=x")
    inside = said[3:-4].replace(b"\\\\", b"").split(b"\\")
    assert b"," not in inside[0]
    assert not any(b"," in piece[1:] for piece in inside[1:])
    assert not said.startswith(b"CN= ")
