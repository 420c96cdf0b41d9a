"""The sentences in which a scenario gives its commands, and what each of them asks of the engine.

People are named alone (`anna`, `wei`): a name of the hall's agents means that agent, any other a customer; staff
have their role before the name (`supervisor sam`, `the bank`). Ids that people do not know (reservations, connections,
room attempts) are looked up in the scene. After any sentence `(request r1)` gives the command an id, `(by ben)` another sender.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from dispatch import commands as cm
from dispatch.handing_facts import VERSIONS, HandedCall
from dispatch.wishes import Wishes
from tests.engine.scene import Scene
from tests.scenarios.hall import checked, need, with_line
from tests.scenarios.times import duration_ms

NAME = r"[a-z][\w-]*"
WHO = rf"(?P<who>(?:supervisor |operator |the ){NAME}|{NAME})"
CALL = r"(?P<call>c\d+)"
WHY = r"(?:: (?P<why>.+))?"
ATTEMPT = r"(?:, attempt (?P<attempt>\d+))?"
DURATION = r"(?P<duration>\d+ \w+(?: \d+ \w+)*)"

Groups = dict[str, str]


class Cast:
    """Who is who in a scene, and what they hold in their hands."""

    def __init__(self, scene: Scene, offset_minutes: int) -> None:
        self.scene = scene
        self.offset_minutes = offset_minutes
        self.reservations: dict[tuple[str, str], str] = {}
        """(call, agent) -> the latest reservation."""
        self.connections: dict[str, str] = {}
        self.validity_ms: dict[str, int] = {}
        """Call -> until when another division's hand-over of it is valid."""

    def principal(self, who: str) -> str:
        """`anna` -> `agent:anna`, `wei` -> `customer:wei`, `the bank` -> `system:bank`, else the role before the name."""
        role, _, name = who.rpartition(" ")
        if role == "the":
            return "system:" + name
        if role:
            return f"{role}:{name}"
        return ("agent:" if name in self.scene.engine.state.agents else "customer:") + name

    def reservation(self, call_id: str, agent_id: str) -> str:
        """The latest one of this call at this agent, closed or not."""
        return self.reservations.get((call_id, agent_id), call_id + ".1")

    def came_by(self, call_id: str) -> int:
        """The version of the hand-over that brought the call here."""
        return self.scene.call(call_id).origins[0][1]

    def attempt(self, said: Groups) -> int:
        """The room that is meant: the one that counts, unless another is named."""
        if said["attempt"]:
            return int(said["attempt"])
        call = self.scene.engine.state.calls.get(said["call"])
        return call.room_attempt if call is not None else 1


def commands(text: str, cast: Cast) -> list[Any]:
    """The commands that one sentence gives. Raises ValueError for a sentence that nobody understands."""
    by, request_id = "", ""
    while suffix := re.fullmatch(r"(.+) \((by|request) ([^()]+)\)", text):
        text = suffix[1]
        by, request_id = (suffix[3], request_id) if suffix[2] == "by" else (by, suffix[3])
    for pattern, build in PHRASES:
        found = re.fullmatch(pattern, text)
        if found:
            made = build(found.groupdict(), cast)
            changes = {"principal": cast.principal(by)} if by else {}
            changes |= {"id": request_id} if request_id else {}
            return [msgspec.structs.replace(one, **changes) for one in (made if isinstance(made, list) else [made])]
    raise ValueError(f"nobody understands {text!r}")


# -- customers and the bank


def _request(said: Groups, cast: Cast) -> cm.RequestCall:
    customer_id = said.get("customer") or said["who"]
    wishes: dict[str, Any] = {}
    rest: dict[str, Any] = {"is_consented": True}
    for wish in (said["wishes"] or "").split("; ")[1:]:
        _wish(wish, wishes, rest)
    return cm.RequestCall(
        said["call"],
        customer_id,
        said["queue"],
        wishes=Wishes(**wishes) if wishes else None,
        principal=cast.principal(said["who"]),
        **rest,
    )


def _wish(wish: str, wishes: dict[str, Any], rest: dict[str, Any]) -> None:
    word, _, value = wish.partition(" ")
    if wish == "without consent":
        rest["is_consented"] = False
    elif word == "reference":
        rest["business_reference"] = value
    elif word == "priority":
        wishes["credit_ms"] = duration_ms(value)
    elif wish == "absolute":
        wishes["is_absolute"] = True
    elif wish == "as a callback":
        wishes["is_callback"] = True
    elif word in ("required", "preferred", "manager"):
        wishes[{"manager": "manager_id"}.get(word, word + "_agent_id")] = value
    elif word == "excluding":
        wishes["excluded_agent_ids"] = value.split(" and ")
    elif word in ("needs", "joint_need"):
        wishes[word.replace("needs", "need")] = need(value)
    elif word in ("region", "carrier"):
        wishes[word] = value
    else:
        raise ValueError(f"no such wish: {wish!r}")


def _invite(said: Groups, cast: Cast) -> cm.InviteCustomer:
    valid_ms = duration_ms(said["duration"]) if said["duration"] else 0
    principal = cast.principal(said["who"])
    return cm.InviteCustomer(
        said["call"], said["customer"], said["who"], said["queue"], valid_ms=valid_ms, principal=principal
    )


def _hang_up(said: Groups, cast: Cast) -> cm.HangUp:
    return cm.HangUp(said["call"], said["why"] or "", principal=cast.principal(said["who"]))


# -- agents


def _activity(said: Groups, cast: Cast) -> list[cm.SetActivity]:
    if said["how"] == "ready":
        return [cm.SetActivity(who, "ready", principal="agent:" + who) for who in said["names"].split(", ")]
    activity = "offline" if said["how"] == "out" else "not_ready"
    return [cm.SetActivity(said["names"], activity, said["why"] or "", principal="agent:" + said["names"])]


def _answer(said: Groups, cast: Cast) -> list[Any]:
    who, call_id, principal = said["who"], said["call"], cast.principal(said["who"])
    reservation_id = cast.reservation(call_id, who)
    if said["how"] == "accepts":
        talks = [cm.ReportConnected(call_id, principal=principal)] if said["talks"] else []
        return [cm.AcceptReservation(reservation_id, who, principal=principal), *talks]
    is_busy = said["how"] == "is busy for"
    return [cm.DeclineReservation(reservation_id, who, said["why"] or "", is_busy, principal=principal)]


def _wrap_up(said: Groups, cast: Cast) -> Any:
    who, call_id, principal = said["who"], said["call"], cast.principal(said["who"])
    if said["duration"]:
        return cm.ExtendWrapUp(who, call_id, duration_ms(said["duration"]), principal=principal)
    return cm.FinishWrapUp(who, call_id, principal=principal)


def _transfer(said: Groups, cast: Cast) -> cm.TransferCall:
    credit_ms = duration_ms(said["duration"]) if said["duration"] else -1
    principal = cast.principal(said["who"])
    return cm.TransferCall(
        said["call"], said["queue"] or "", said["agent"] or "", credit_ms, said["why"] or "", principal=principal
    )


def _ask_party(said: Groups, cast: Cast) -> cm.InviteParty:
    principal = cast.principal(said["who"])
    return cm.InviteParty(said["call"], said["role"], said["agent"] or "", said["queue"] or "", principal=principal)


def _leave(said: Groups, cast: Cast) -> Any:
    who, principal = said["who"], cast.principal(said["who"])
    if principal.startswith("supervisor:"):
        return cm.Supervise(said["call"], who.rpartition(" ")[2], "", principal=principal)
    return cm.RemoveParty(said["call"], who, principal=principal)


def _supervise(said: Groups, cast: Cast) -> cm.Supervise:
    mode = {"hears": "monitor", "whispers in": "whisper", "speaks in": "barge"}[said["how"]]
    principal = cast.principal(said["who"])
    return cm.Supervise(said["call"], said["who"].rpartition(" ")[2], mode, principal=principal)


# -- connections, rooms, the hall itself


def _connect(said: Groups, cast: Cast) -> cm.Connect:
    principal = cast.principal(said["who"])
    connection_id = cast.connections[principal] = f"k{len(cast.connections) + cast.scene.now_ms}"
    return cm.Connect(principal, said["gateway"] or "g1", connection_id, principal=principal)


def _disconnect(said: Groups, cast: Cast) -> cm.Disconnect:
    principal = cast.principal(said["who"])
    return cm.Disconnect(principal, cast.connections.get(principal, ""))


def _room(said: Groups, cast: Cast) -> Any:
    call_id, attempt = said["call"], cast.attempt(said)
    reports: dict[str, Callable[[], Any]] = {
        "is open": lambda: cm.ReportRoomOpened(call_id, attempt),
        "is closed": lambda: cm.ReportRoomClosed(call_id, attempt),
        "fails": lambda: cm.ReportRoomFailed(call_id, attempt, said["why"] or ""),
    }
    return reports[said["how"]]()


def _media(said: Groups, cast: Cast) -> Any:
    kind = cm.ReportPartyJoined if said["how"] == "arrive" else cm.ReportPartyLeft
    return kind(said["call"], cast.attempt(said), said["party"])


def _recording(said: Groups, cast: Cast) -> Any:
    call_id, attempt = said["call"], cast.attempt(said)
    if said["how"] == "starts":
        return cm.ReportRecordingStarted(call_id, attempt, said["party"])
    return cm.ReportRecordingFailed(call_id, attempt, said["party"], said["why"] or "")


def _stand(said: Groups, cast: Cast) -> list[Any]:
    call_id, attempt = said["call"], cast.attempt(said)
    parties = ("customer", "agent")
    return [
        cm.AssignRoom(call_id, attempt, "w1", 1),
        cm.ReportRoomOpened(call_id, attempt),
        *(cm.ReportPartyJoined(call_id, attempt, party) for party in parties),
        *(cm.ReportRecordingStarted(call_id, attempt, party) for party in parties),
    ]


def _sealed(said: Groups, cast: Cast) -> cm.ReportRecordingSealed:
    files: list[dict[str, str | int]] = [{"party": party} for party in ("customer", "agent")]
    return cm.ReportRecordingSealed(said["call"], cast.attempt(said), "0" * 64, files)


def _plan(said: Groups, cast: Cast) -> cm.ApplyPlan:
    state = cast.scene.engine.state
    plan = msgspec.structs.replace(state.plan, retired={})
    for line in said["lines"].split(" | "):
        plan = with_line(plan, line, cast.offset_minutes)
    number = int(state.plan_digest.rpartition("-")[2]) + 1
    digest = state.plan_digest if plan == state.plan else f"plan-{number}"
    return cm.ApplyPlan(checked(plan), digest, principal="operator:kim")


# -- other divisions


def _report(said: Groups, cast: Cast) -> cm.ReportHandOver:
    version = cast.scene.call(said["call"]).version
    return cm.ReportHandOver(said["call"], version, said.get("why") or "", int(said.get("seq") or 0))


def _admit(said: Groups, cast: Cast) -> cm.AdmitHandOver:
    """Facts that are not said: queued and valid from now on, the first hop, nobody connected, no limit named."""
    now_ms = cast.scene.now_ms
    facts: dict[str, Any] = {"queued_at_ms": now_ms, "hops": 1, "version": VERSIONS, "cause": "queue_full"}
    for fact in said["facts"].split("; ")[1:]:
        word, _, value = fact.partition(" ")
        if word in ("hops", "seq", "version"):
            facts[word] = int(value)
        elif word in ("waited", "priority"):
            ms = duration_ms(value)
            facts |= {"queued_at_ms": now_ms - ms} if word == "waited" else {"credit_ms": ms}
        else:
            raise ValueError(f"no such fact: {fact!r}")
    cast.validity_ms.setdefault(said["call"], now_ms + 10_000)
    return cm.AdmitHandOver(
        HandedCall(
            call_id=said["call"],
            customer_id=said["customer"],
            queue_id=said["queue"],
            from_division=said["from"],
            valid_until_ms=cast.validity_ms[said["call"]],
            is_consented=True,
            **facts,
        )
    )


def _revoke(said: Groups, cast: Cast) -> cm.RevokeHandOver:
    call_id = said["call"]
    until_ms = cast.validity_ms.get(call_id, cast.scene.now_ms + 10_000)
    return cm.RevokeHandOver(call_id, VERSIONS + 1, said["from"], until_ms, said["why"] or "")


def _ended_there(said: Groups, cast: Cast) -> cm.EndHandedCall:
    return cm.EndHandedCall(said["call"], cast.scene.call(said["call"]).version, said["why"])


def _sent(kind: Callable[..., Any], *names: str) -> Callable[[Groups, Cast], Any]:
    """A command whose fields are these groups, sent by `who`."""
    return lambda said, cast: kind(*(said[name] for name in names), principal=cast.principal(said["who"]))


PHRASES: list[tuple[str, Callable[[Groups, Cast], Any]]] = [
    (rf"{WHO} asks for (?P<queue>{NAME}) for (?P<customer>{NAME}): call {CALL}(?P<wishes>; .+)?", _request),
    (rf"{WHO} asks for (?P<queue>{NAME}): call {CALL}(?P<wishes>; .+)?", _request),
    (rf"{WHO} asks to be called back for {CALL}", _sent(cm.RequestCallback, "call")),
    (rf"{WHO} invites (?P<customer>{NAME}) to (?P<queue>{NAME}): call {CALL}(?:; valid {DURATION})?", _invite),
    (
        rf"{WHO} accepts the invitation {CALL}(?P<not>, without consent)?",
        lambda said, cast: cm.AcceptInvitation(
            said["call"], said["who"], not said["not"], principal=cast.principal(said["who"])
        ),
    ),
    (rf"{WHO} hangs up {CALL}{WHY}", _hang_up),
    (
        rf"{WHO} gives {CALL} priority {DURATION}(?P<absolute>, absolute)?",
        lambda said, cast: cm.SetPriority(
            said["call"], duration_ms(said["duration"]), bool(said["absolute"]), principal=cast.principal(said["who"])
        ),
    ),
    (rf"(?P<names>{NAME}(?:, {NAME})*) becomes? (?P<how>ready)", _activity),
    (rf"(?P<names>{NAME}) becomes (?P<how>not ready){WHY}", _activity),
    (rf"(?P<names>{NAME}) signs (?P<how>out){WHY}", _activity),
    (rf"{WHO} (?P<how>accepts) {CALL}(?P<talks> and talks)?", _answer),
    (rf"{WHO} (?P<how>declines|is busy for) {CALL}{WHY}", _answer),
    (rf"{WHO} sees the customer of {CALL}", _sent(cm.ReportConnected, "call")),
    (rf"{WHO} is done with (?P<duration>)?{CALL}", _wrap_up),
    (rf"{WHO} needs {DURATION} more for {CALL}", _wrap_up),
    (
        rf"{WHO} transfers {CALL} to (?:queue (?P<queue>(?:{NAME}/)?{NAME})|(?P<agent>{NAME}))(?:, priority {DURATION})?{WHY}",
        _transfer,
    ),
    (
        rf"{WHO} asks (?:(?P<agent>{NAME})|somebody of queue (?P<queue>{NAME})) into {CALL} as (?P<role>{NAME})",
        _ask_party,
    ),
    (rf"{WHO} removes (?P<agent>{NAME}) from {CALL}", _sent(cm.RemoveParty, "call", "agent")),
    (rf"{WHO} leaves {CALL}", _leave),
    (rf"{WHO} hands {CALL} over to (?P<agent>{NAME})", _sent(cm.CompleteTransfer, "call", "agent")),
    (rf"{WHO} puts (?P<agent>{NAME}) in charge of {CALL}", _sent(cm.TakeOver, "call", "agent")),
    (rf"{WHO} (?P<how>hears|whispers in|speaks in) {CALL}", _supervise),
    (
        rf"{WHO} (?:puts|takes) {CALL} (?P<how>on|off) hold",
        lambda said, cast: cm.SetHold(said["call"], said["how"] == "on", principal=cast.principal(said["who"])),
    ),
    (
        rf'{WHO} shows step (?P<step>{NAME}) in {CALL}: "(?P<text>[^"]*)"(?:, to be answered (?P<answers>.+))?',
        lambda said, cast: cm.ShowScriptStep(
            said["call"],
            said["step"],
            said["text"],
            re.split(" or |, ", said["answers"] or "") if said["answers"] else [],
            principal=cast.principal(said["who"]),
        ),
    ),
    (
        rf"{WHO} answers step (?P<number>\d+) of {CALL}: (?P<answer>.+)",
        lambda said, cast: cm.AnswerScriptStep(
            said["call"], int(said["number"]), said["answer"], principal=cast.principal(said["who"])
        ),
    ),
    (rf"{WHO} connects(?: through (?P<gateway>{NAME}))?", _connect),
    (rf"{WHO} is cut off", _disconnect),
    (rf"gateway (?P<gateway>{NAME}) stops answering", lambda said, cast: cm.LoseGateway(said["gateway"])),
    (
        rf"worker (?P<worker>{NAME}) is chosen for {CALL}{ATTEMPT}",
        lambda said, cast: cm.AssignRoom(said["call"], cast.attempt(said), said["worker"], 1),
    ),
    (rf"the room of {CALL}{ATTEMPT} (?P<how>is open|is closed|fails){WHY}", _room),
    (rf"the (?P<party>customer|agent)'s media (?P<how>arrive|are gone) in {CALL}{ATTEMPT}", _media),
    (rf"the (?P<party>customer|agent)'s recording (?P<how>starts|fails) in {CALL}{ATTEMPT}{WHY}", _recording),
    (rf"the media of {CALL}{ATTEMPT} stand", _stand),
    (rf"the recording of {CALL}{ATTEMPT} is complete", _sealed),
    (rf"worker (?P<worker>{NAME}) dies", lambda said, cast: cm.LoseWorker(said["worker"], 1)),
    (rf"the hall comes back after {DURATION}", lambda said, cast: cm.Resume(duration_ms(said["duration"]))),
    (r"the plan changes: (?P<lines>.+)", _plan),
    (rf"division {NAME} takes {CALL}(?:, numbers go on after (?P<seq>\d+))?", _report),
    (rf"division {NAME} does not take {CALL}: (?P<why>.+)", _report),
    (
        rf"division (?P<from>{NAME}) hands {CALL} of (?P<customer>{NAME}) over to (?P<queue>{NAME})(?P<facts>(?:; [^;]+)*)",
        _admit,
    ),
    (rf"division (?P<from>{NAME}) wants {CALL} (?:back|to end: (?P<why>.+))", _revoke),
    (rf"division {NAME} says that {CALL} has ended: (?P<why>.+)", _ended_there),
    (
        rf"division (?P<from>{NAME}) knows that {CALL} has ended",
        lambda said, cast: cm.ReportEndTold(said["call"], cast.came_by(said["call"])),
    ),
]
"""Pattern of a whole sentence -> what it asks for; the first that fits."""
