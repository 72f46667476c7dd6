"""Binding for the workers: one socket each, on one address that nobody else has."""

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from proxy.config.fields import Address
from proxy.control.sockets import close_sockets, open_sockets, shut_door
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


def test_behind_a_shut_door_nobody_begins_but_who_waits_is_served() -> None:
    (listening,) = open_sockets(Address("127.0.0.1", 0), 1)
    listening.listen()
    with closing(socket.create_connection(listening.getsockname())) as early:
        shut_door([listening])
        early.sendall(b"hello")
        accepted, _ = listening.accept()
        with closing(accepted):
            assert accepted.recv(5) == b"hello"
            accepted.sendall(b"welcome")
            assert early.recv(7) == b"welcome"

        with closing(socket.socket()) as late:
            late.setblocking(False)
            assert late.connect_ex(listening.getsockname()) == errno.EINPROGRESS
            assert select.select([], [late], [], 0.05) == ([], [], [])
            close_sockets([listening])  # its next try, a second later, finds nobody
            assert select.select([], [late], [], 5.0)[1] == [late]
            assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED


def test_a_door_that_cannot_be_shut_is_told() -> None:
    (listening,) = open_sockets(Address("127.0.0.1", 0), 1)
    close_sockets([listening])
    with capture_logs() as said:
        shut_door([listening])
    assert [line["event"] for line in said] == ["door_not_shut"]
