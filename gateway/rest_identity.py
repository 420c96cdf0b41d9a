"""REST about who asks: one-use tickets for WebSockets.

Rules: a ticket stands for the very token that asked for it: its role, its division, its end, its key. It is good for one
upgrade within half a minute, through any gateway of the hall.

Not here: keeping tickets (`actors/tickets.py`), taking them (`gateway/entrance.py`), tokens (`gateway/identity.py`).
"""

import time

import msgspec

from actors.tickets import LIFE_MS
from gateway import answers
from gateway.operations import EVERYBODY, Asked, Operation
from gateway.refusals import Refused


async def issue_ticket(asked: Asked) -> answers.IssuedTicket:
    """For a WebSocket: offer `ticket.<it>` as a subprotocol, once, before it ends. A repeat gets another one."""
    identity, services = asked.speaker.identity, asked.speaker.services
    owner = f"{identity.division_id}\n{identity.principal}"
    content = msgspec.msgpack.encode(identity)
    ticket = await asked.speaker.within_time(services.tickets.issue(owner, content))
    if not ticket:
        raise Refused("too_many", "too many tickets that nobody has used", retry_after_ms=LIFE_MS)
    return answers.IssuedTicket(ticket, int(time.time() * 1000) + LIFE_MS)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST",
        path="/v1/tickets",
        handler=issue_ticket,
        summary="Get a one-use ticket for a WebSocket",
        roles=EVERYBODY,
        whose="own",
        is_audited=False,  # Its use is: as a login.
        answer=answers.IssuedTicket,
        status=201,
    ),
)
