"""A certificate authority of a test's own: the files that it makes, and what both sides of Crossfade do with them."""

import ssl
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import trustme

from proxy.model.snapshot import ListenTls, UpstreamTls

NAME = "gateway.example"


class Authority:
    """Its files are in `folder`. Each one is another: what one has signed, none of the others vouches for."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.folder = folder

    # --- files

    @cached_property
    def ca_file(self) -> str:
        """Its own certificate."""
        file = self.folder / f"ca-{uuid4().hex}.pem"
        self._ca.cert_pem.write_to_path(file)
        return str(file)

    def spoil(self) -> None:
        """Empty the file of this authority's certificate."""
        Path(self.ca_file).write_text("")

    def write(self, *names: str) -> None:
        """tls.crt and tls.key, for these hosts' names or addresses, in place of those that are there."""
        self._issue(self.folder / "tls.crt", self.folder / "tls.key", *(names or ("localhost", "127.0.0.1")))

    def files(self, *names: str, common_name: str | None = None) -> tuple[str, str]:
        """A new certificate for these names, and its key."""
        cert, key = (self.folder / f"{uuid4().hex}.{kind}" for kind in ("pem", "key"))
        self._issue(cert, key, *names, common_name=common_name)
        return str(cert), str(key)

    def _issue(self, cert: Path, key: Path, *names: str, common_name: str | None = None) -> None:
        made = self._ca.issue_cert(*names, common_name=common_name)
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())

    # --- Crossfade between a client and an upstream

    def listen(self, client_auth: str = "none", by: "Authority | None" = None) -> ListenTls:
        """What the gateway shows its clients; `by` vouches for theirs."""
        cert_file, key_file = self.files(NAME)
        return ListenTls(
            cert_file, key_file, client_ca_file=by.ca_file if by else "", client_auth=client_auth, digest=uuid4().hex
        )

    def client(self, *, shows: tuple[str, str] | None = None) -> ssl.SSLContext:
        """A client that trusts this authority, and shows a certificate if it has one."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if shows is not None:
            context.load_cert_chain(*shows)
        return context

    def upstream(self, *names: str, asks_by: "Authority | None" = None) -> ssl.SSLContext:
        """An upstream for these names. It asks for a certificate that `asks_by` vouches for."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.files(*(names or ("127.0.0.1",))))
        if asks_by is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(asks_by.ca_file)
        return context

    def trusts(self, server_name: str = "", shows: tuple[str, str] = ("", "")) -> UpstreamTls:
        """The gateway's side towards an upstream that this authority vouches for."""
        return UpstreamTls(
            self.ca_file, cert_file=shows[0], key_file=shows[1], server_name=server_name, digest=uuid4().hex
        )
