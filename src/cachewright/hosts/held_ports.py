"""Reservation of ports on which nodes do not listen yet, so that no other server on this machine chooses them."""

import socket


class HeldPorts:
    """Sockets that are bound but do not listen: connections are refused, and a process that sets SO_REUSEADDR, as
    Valkey does, can listen on the port. `ports.free_ports` does not yield such a port."""

    def __init__(self) -> None:
        self._sockets: dict[tuple[str, int], socket.socket] = {}

    def hold(self, address: str, port: int) -> None:
        """Hold a port until `release`. No effect if it is held or a process listens on it."""
        if (address, port) in self._sockets:
            return
        held = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((address, port))
        except OSError:
            held.close()
            return
        self._sockets[address, port] = held

    def release(self, address: str, port: int) -> None:
        if held := self._sockets.pop((address, port), None):
            held.close()
