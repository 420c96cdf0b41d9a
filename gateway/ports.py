"""The ports of a hall, claimed before anything is started: a taken one is one clear line, not a part that never comes up.

Theory: a gateway binds with SO_REUSEPORT, so that several can share the port and a successor needs not wait. The price is
that two halls of one user would share a port too, silently, each getting half of the other's clients. So the owner of
the hall first binds WITHOUT that option, which fails if anybody is there, then holds the port WITH it for the hall's whole
life, without listening: nobody else gets it, the kernel gives it no connection, and a restarted gateway finds it free.
"""

import socket


class PortTaken(Exception):
    """The address cannot be had; the text says which and why."""


def claim_port(host: str, port: int) -> socket.socket:
    """Return a socket that holds the TCP port (0: a free one) for gateways of this user. Raises PortTaken."""
    _bound(host, port, socket.SOCK_STREAM).close()
    return _bound(host, port, socket.SOCK_STREAM, is_shared=True)


def check_media_port(host: str, port: int) -> None:
    """Raise PortTaken unless a media worker could bind the UDP port now."""
    _bound(host, port, socket.SOCK_DGRAM).close()


def _bound(host: str, port: int, kind: socket.SocketKind, is_shared: bool = False) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    try:
        if is_shared:
            # And not SO_REUSEADDR: two bound sockets that both have it and do not listen do not disturb each other.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        elif kind == socket.SOCK_STREAM:
            # Connections of an earlier run that wait out their time are nobody's claim.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise PortTaken(f"{host}:{port}: {error.strerror or error}") from error
    return made
