"""A certificate authority of the benchmark's own, and what all servers show: one certificate for localhost."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

NAME = "localhost"
"""The name in the certificate."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM: the authority, the certificate with its chain, its key, and both in one as HAProxy wants them."""

    ca: Path
    cert: Path
    key: Path
    both: Path

    def client(self) -> ssl.SSLContext:
        """Believes this authority only."""
        return ssl.create_default_context(cafile=str(self.ca))


def make_certificates(folder: Path) -> Certificates:
    """An authority and one certificate (ECDSA, P-256), in a new `folder`."""
    folder.mkdir()
    made = Certificates(*(folder / f"{name}.pem" for name in ("ca", "cert", "key", "both")))
    authority = trustme.CA()
    issued = authority.issue_cert(NAME)
    authority.cert_pem.write_to_path(str(made.ca))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(made.cert), append=True)
    issued.private_key_pem.write_to_path(str(made.key))
    made.both.write_bytes(made.cert.read_bytes() + made.key.read_bytes())
    return made
