"""Messages between two processes over one connection: each its length in eight bytes, then it."""

import socket
from typing import final

_LENGTH = 8
_READ = 2**20


class Gone(Exception):
    """The other end has closed the connection, or cannot be reached any more."""


@final
class Link:
    """One end of a connection. `most` bounds a message that is received, in bytes."""

    def __init__(self, connection: socket.socket, *, most: int = 2**40) -> None:
        self.connection = connection
        self.most = most
        self._read = bytearray()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.address = str(connection.getpeername()[0])

    def send(self, message: bytes) -> None:
        """Hands the message to the system; Gone where the other end is not there."""
        try:
            self.connection.sendall(len(message).to_bytes(_LENGTH, "little"))
            self.connection.sendall(message)
        except OSError as error:
            raise Gone(error.strerror or str(error)) from None

    def receive(self) -> bytes:
        """The next message, waited for as long as the connection's own time limit says."""
        while (message := self.whole()) is None:
            self.read()
        return message

    def read(self) -> None:
        """Takes in some of what has come; waits only where nothing has."""
        try:
            part = self.connection.recv(_READ)
        except OSError as error:
            raise Gone(error.strerror or str(error)) from None
        if not part:
            raise Gone("the connection was closed")
        self._read += part

    def take_in(self) -> None:
        """Takes in all that has come, without waiting; Gone where the other end is."""
        while True:
            try:
                part = self.connection.recv(_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                raise Gone(error.strerror or str(error)) from None
            if not part:
                raise Gone("the connection was closed")
            self._read += part

    def whole(self) -> bytes | None:
        """The next message, if all of it is here."""
        if len(self._read) < _LENGTH:
            return None
        size = int.from_bytes(self._read[:_LENGTH], "little")
        if size > self.most:
            raise Gone(f"a message of {size:,} bytes is none of fanin's")
        if len(self._read) < _LENGTH + size:
            return None
        message = bytes(self._read[_LENGTH : _LENGTH + size])
        del self._read[: _LENGTH + size]
        return message

    def close(self) -> None:
        self.connection.close()
