"""Binding for the workers: one socket each, on one address that nobody else has."""

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from proxy.config.fields import Address
from proxy.control.sockets import close_sockets, open_sockets
from proxy.model.errors import ConfigError


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    sockets = open_sockets(Address("127.0.0.1", 0), 3)
    yield sockets
    close_sockets(sockets)


def test_each_worker_gets_a_socket_of_its_own_on_the_same_address(opened: list[socket.socket]) -> None:
    assert len({each.fileno() for each in opened}) == 3
    (name,) = {each.getsockname() for each in opened}
    assert name[1] != 0


def test_two_of_us_do_not_share_a_port_unnoticed(opened: list[socket.socket]) -> None:
    opened[0].listen()
    host, port = opened[0].getsockname()
    with pytest.raises(ConfigError, match=f"{host}:{port} is in use by another process") as raised:
        open_sockets(Address(host, port), 1)
    assert raised.value.path == "listen.address"


def test_the_address_is_free_again_at_once(opened: list[socket.socket]) -> None:
    opened[0].listen()
    host, port = opened[0].getsockname()
    with closing(socket.create_connection((host, port))):
        close_sockets(opened)
        close_sockets(open_sockets(Address(host, port), 2))


def test_a_connection_in_the_queue_outlives_the_process_that_listened(opened: list[socket.socket]) -> None:
    """The supervisor's copy keeps the socket; a second process's copy is what a worker has."""
    copy = opened[0].dup()
    copy.listen()
    with closing(socket.create_connection(opened[0].getsockname())) as client:
        copy.close()
        server, _ = opened[0].accept()
        with closing(server):
            server.sendall(b"here")
            assert client.recv(4) == b"here"


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("192.0.2.1", "192.0.2.1 is no address of this machine; write one that is, or 0.0.0.0 for all"),
        ("no-such-host.invalid", "no-such-host.invalid is no address of this machine"),
    ],
)
def test_an_address_that_is_not_ours_is_said_in_words(host: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        open_sockets(Address(host, 8080), 1)


def test_all_of_ipv6_takes_ipv4_too() -> None:
    try:
        sockets = open_sockets(Address("::", 0), 1)
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    sockets[0].listen()
    with closing(socket.create_connection(("127.0.0.1", sockets[0].getsockname()[1]))):
        pass
    close_sockets(sockets)
