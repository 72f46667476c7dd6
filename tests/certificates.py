"""A certificate authority of a test's own, and the files that it makes."""

from pathlib import Path

import trustme


class Authority:
    """Each one is another: what one has signed, none of the others vouches for."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def write(self, folder: Path, *names: str) -> None:
        """tls.crt and tls.key, for these hosts' names or addresses."""
        made = self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")))
        made.cert_chain_pems[0].write_to_path(folder / "tls.crt")
        made.private_key_pem.write_to_path(folder / "tls.key")

    def write_ca(self, file: Path) -> None:
        self._ca.cert_pem.write_to_path(file)
