"""The first word of a session: a welcome with all that there is, a reset, or where it resumes.

Rules: each carries the ICE servers anew, with credentials that begin to live now, since a client that comes back may have
been away for longer than they were good for.

Not here: when which is said (`gateway/session.py`), the snapshot (`gateway/translation.py`).
"""

import time

from actors.hall import Subscribed
from dispatch import views
from gateway import messages as wire
from gateway import translation
from gateway.ice import ice_configuration
from gateway.identity import Identity
from gateway.settings import Settings


def greeting_of(settings: Settings, identity: Identity, subscribed: Subscribed, name: str) -> wire.FromServer:
    """Return what to say to a client that the hall has taken; `name` is the one that its snapshot needs."""
    now_ms = int(time.time() * 1000)
    ice = ice_configuration(settings, identity.principal, now_ms)
    if subscribed.kind == "resumed":
        return wire.SessionResumed(subscribed.seq, len(subscribed.missed), now_ms, settings.ping_ms, *ice)
    session = subscribed.session or views.SessionView(identity.principal, subscribed.seq)
    kind = wire.SessionWelcome if subscribed.kind == "welcome" else wire.SessionReset
    return kind(
        session=translation.snapshot_of(identity.role, session, name),
        seq=subscribed.seq,
        server_ms=now_ms,
        ping_ms=settings.ping_ms,
        principal=identity.principal,
        role=identity.role,
        gateway_id=settings.gateway_id,
        **ice._asdict(),
    )
