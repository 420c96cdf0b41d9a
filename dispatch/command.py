"""The base of all commands: who wishes, and the id by which a repeat is known. The commands themselves stand in `commands`."""

from msgspec import Struct


class FromPrincipal(Struct, array_like=True, gc=False, kw_only=True):
    """Something that a principal wants done in a division."""

    principal: str = "system:shell"
    id: str = ""
