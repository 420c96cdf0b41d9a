"""SDP fragments as clients without a WebSocket trickle them: `application/trickle-ice-sdpfrag` (RFC 8840 section 9).

Rules: pure text work. A fragment names its ICE session by user fragment and password; both must be there, or nobody could say
whether the candidates are of a session that has been replaced (RFC 8840 section 4.4). What a line means beyond
that is the worker's matter; unknown lines are passed over.

Not here: which candidates are of use (`media/sdp.py`), the requests (`gateway/rest_media.py`).
"""

import re
from typing import NamedTuple

from gateway.client_fields import CANDIDATE_LENGTH_MAX
from gateway.refusals import Refused

MEDIA_TYPE = "application/trickle-ice-sdpfrag"
LINES_MAX = 256
"""Sixteen times what a browser with several networks sends at once."""

_LINE = re.compile(r"[a-z]=[^\x00\r\n]*")


class Fragment(NamedTuple):
    """What a fragment says."""

    ufrag: str
    candidates: list[str]
    """Each as `RTCIceCandidate.candidate`."""
    is_complete: bool
    """There are no more."""


def read_fragment(text: str) -> Fragment:
    """Read a fragment; raises Refused (`malformed`, `bad_value`)."""
    lines = [line for line in text.splitlines() if line]
    if not lines or len(lines) > LINES_MAX or not all(_LINE.fullmatch(line) for line in lines):
        raise Refused("malformed", "not an SDP fragment, or one that is too long")
    ufrags = {line.removeprefix("a=ice-ufrag:") for line in lines if line.startswith("a=ice-ufrag:")}
    if len(ufrags) != 1 or not any(line.startswith("a=ice-pwd:") for line in lines):
        raise Refused("malformed", "the fragment names no ICE session, or several (a=ice-ufrag, a=ice-pwd)")
    candidates = [line.removeprefix("a=") for line in lines if line.startswith("a=candidate:")]
    if any(len(one) > CANDIDATE_LENGTH_MAX for one in candidates):
        raise Refused("bad_value", f"a candidate has at most {CANDIDATE_LENGTH_MAX} characters")
    return Fragment(ufrags.pop(), candidates, "a=end-of-candidates" in lines)
