"""Ports that are held for nodes which do not accept clients yet."""

import socket

import pytest

from cachewright.hosts.held_ports import HeldPorts
from cachewright.hosts.ports import NoFreePort, free_ports

HOST = "127.0.0.1"


def listening(port: int) -> socket.socket:
    """A server's socket, as Valkey opens it."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((HOST, port))
    opened.listen()
    return opened


def test_a_held_port_refuses_clients_and_is_chosen_by_nobody_but_its_node() -> None:
    port = next(free_ports(HOST, (10240, 20000), set()))
    held = HeldPorts()
    held.hold(HOST, port)
    held.hold(HOST, port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), 5)
    with pytest.raises(NoFreePort):
        next(free_ports(HOST, (port, port + 1), set()))
    with listening(port), socket.create_connection((HOST, port), 5):
        held.release(HOST, port)
    held.release(HOST, port)


def test_a_port_that_a_process_uses_is_not_held() -> None:
    port = next(free_ports(HOST, (10240, 20000), set()))
    held = HeldPorts()
    with listening(port):
        held.hold(HOST, port)
    assert list(held._sockets) == []
