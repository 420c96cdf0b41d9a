"""Virtual customers and agents: what each does with what it hears, and what it writes down.

Rules: a person acts through one connection and knows nothing else. A refusal that a race explains (the customer hung up while
the agent accepted) is normal; every other one is a fault of the run, by name. Nobody reconnects: a lost connection is a fault.

Theory: a customer waits for `patience_ms` from the intended instant, then hangs up, whatever the call is doing; once an
agent has accepted, patience no longer counts. One of the two ends the talk, as the schedule says. An agent lets it ring for
`answer_ms`, accepts, and reports the connection, since another system carries the media of these queues.

Not here: the connection (`loadtest/client.py`), when a call begins (`loadtest/floor.py`), locust (`loadtest/locustfile.py`).
"""

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import gevent

from gateway import client_messages as said
from gateway import messages as wire
from gateway.client_fields import FromClient
from loadtest.client import Client, Refused
from loadtest.floor import Floor
from loadtest.link import Heard, LinkLost, read_data
from loadtest.records import CallRecord, Engagement
from loadtest.workload import Arrival

RACES = frozenset({"wrong_state", "not_pending", "not_yours", "unknown_call", "unknown_reservation", "not_in_wrap_up"})
"""Refusals of a command that came after somebody else's: the call had moved on."""

Later = Callable[[dict[str, Any], str], None]
"""Gets the value of an answer and the reason of a refusal, which is empty for an `ack`."""


class Person:
    """What customers and agents share: a connection, commands with answers, and a way to do something later."""

    def __init__(self, person_id: str, url: str, token: str, floor: Floor) -> None:
        self.person_id = person_id
        self.client = Client(url, token, self._hear, attempts_max=1)
        self.floor = floor
        self._began_s = 0.0
        self._is_leaving = False

    def live(self) -> None:
        """Connect, then read until the connection ends. Returns when it has."""
        self._began_s = time.perf_counter()
        try:
            self.client.run()
        except (LinkLost, Refused) as error:
            if not self._is_leaving:
                self.floor.count("connection", 0.0, str(error))
                self.floor.fault(f"{self.person_id}: connection lost: {error}")

    def leave(self) -> None:
        """Let go of the connection at the end of the run."""
        self._is_leaving = True
        self.client.close()

    def ask(self, data: FromClient, then: Later | None = None) -> None:
        """Send a command; `then` gets its answer. Without `then` a race's refusal is normal."""
        asked_s = time.perf_counter()

        def answered(value: dict[str, Any], refused: Refused | None) -> None:
            self._answered(data.TYPE, asked_s, then, value, refused.reason if refused is not None else "")

        try:
            self.client.ask_then(data.TYPE, data, answered)
        except Refused as error:
            # The reader notices too; what matters here is that a timer of this person ends quietly.
            self.floor.count(data.TYPE, 0.0, str(error))

    def later(self, after_ms: float, act: Callable[..., None], *arguments: Any) -> Any:
        """Do something after a while; returns what can be killed."""
        return gevent.spawn_later(max(0.0, after_ms) / 1000, act, *arguments)

    def _hear(self, heard: Heard) -> None:
        if heard.type == wire.SessionWelcome.TYPE:
            self.floor.count("connect", (time.perf_counter() - self._began_s) * 1000, "")
            self.on_welcome()
        elif (data := read_data(heard)) is not None:
            self.on_event(data, heard.seq)

    def _answered(self, name: str, asked_s: float, then: Later | None, value: dict[str, Any], reason: str) -> None:
        if self._is_leaving:
            return
        is_race = reason in RACES
        label = f"{name} (too late)" if is_race else name
        self.floor.count(label, (time.perf_counter() - asked_s) * 1000, "" if is_race else reason)
        if then is not None:
            then(value, reason)
        elif reason and not is_race:
            self.floor.fault(f"{self.person_id}: {name} was refused: {reason}")

    @abstractmethod
    def on_welcome(self) -> None:
        """The session stands."""

    @abstractmethod
    def on_event(self, data: wire.FromServer, seq: int) -> None:
        """The hall tells something."""


class Customer(Person):
    """Calls when told to; one call at a time."""

    def __init__(self, person_id: str, url: str, token: str, floor: Floor) -> None:
        super().__init__(person_id, url, token, floor)
        self._record: CallRecord | None = None
        self._arrival: Arrival | None = None
        self._patience: Any = None

    def on_welcome(self) -> None:
        self.floor.enter()
        self.floor.become_free(self)

    def begin(self, arrival: Arrival, record: CallRecord) -> None:
        """Ask for a call now."""
        self._arrival, self._record = arrival, record
        record.customer_id = self.person_id
        record.sent_ms = self.floor.now_ms
        request = said.CallRequest(arrival.queue_id, is_consented=True, business_reference=arrival.reference)
        self.ask(request, self._on_requested)
        self._patience = self.later(arrival.at_ms + arrival.patience_ms - self.floor.now_ms, self._give_up, record)

    def _on_requested(self, value: dict[str, Any], reason: str) -> None:
        record = self._record
        if record is None:
            # The call has come to its end before the answer to its beginning was read.
            return
        if reason:
            record.refusal = reason
            self._finish()
        else:
            self._learn(record, str(value.get("call_id", "")))

    def _learn(self, record: CallRecord, call_id: str) -> None:
        """The call's id is known by the answer or by the first event, whichever comes first."""
        if record.call_id and record.call_id != call_id:
            self.floor.fault(f"{self.person_id}: asked once, got two calls: {record.call_id} and {call_id}")
        if not record.call_id:
            record.call_id = call_id
            if record.gave_up_ms is not None:
                self.ask(said.CallHangUp(call_id))

    def _give_up(self, record: CallRecord) -> None:
        if self._record is not record:
            return
        record.gave_up_ms = self.floor.now_ms
        if record.call_id:
            self.ask(said.CallHangUp(record.call_id))

    def _hang_up(self, record: CallRecord) -> None:
        if self._record is record:
            record.hung_up_ms = self.floor.now_ms
            self.ask(said.CallHangUp(record.call_id))

    def on_event(self, data: wire.FromServer, seq: int) -> None:
        record, arrival = self._record, self._arrival
        call_id = getattr(data, "call_id", "")
        if record is None or arrival is None or record.call_id not in ("", call_id):
            self.floor.fault(f"{self.person_id}: {data.TYPE} about {call_id}, which is not the call of this customer")
            return
        match data:
            case wire.CallQueued():
                self._learn(record, data.call_id)
            case wire.CallMatched():
                self._patience.kill(block=False)
            case wire.CallConnected():
                if record.connected_ms is not None:
                    self.floor.fault(f"{self.person_id}: {call_id} was connected twice")
                record.connected_ms = self.floor.now_ms
                self.floor.count("wait until connected", record.connected_ms - record.intended_ms, "")
                if arrival.ends == "customer":
                    self.later(arrival.talk_ms, self._hang_up, record)
            case wire.CallEnded():
                record.ended_ms, record.end_reason = self.floor.now_ms, data.reason
                self._finish()

    def _finish(self) -> None:
        self._record = self._arrival = None
        self._patience.kill(block=False)
        self.floor.call_over(self)


class Agent(Person):
    """Serves one call after the other."""

    def __init__(self, person_id: str, url: str, token: str, floor: Floor) -> None:
        super().__init__(person_id, url, token, floor)
        self._engagement: Engagement | None = None
        self._arrival: Arrival | None = None

    def on_welcome(self) -> None:
        self.ask(said.SetAgentState("ready"), self._on_ready)

    def _on_ready(self, value: dict[str, Any], reason: str) -> None:
        if reason:
            self.floor.fault(f"{self.person_id}: cannot become ready: {reason}")
        else:
            self.floor.enter()

    def leave(self) -> None:
        """Sign out, so that a hall which goes on asks nobody who has gone home."""
        self._is_leaving = True
        self.ask(said.SetAgentState("offline"))
        super().leave()

    def on_event(self, data: wire.FromServer, seq: int) -> None:
        if isinstance(data, wire.ReservationNew):
            self._on_reserved(data, seq)
            return
        if isinstance(data, wire.AgentState):
            self._on_state(data)
            return
        engagement, now_ms = self._engagement, self.floor.now_ms
        if engagement is None or getattr(data, "call_id", "") != engagement.call_id:
            self.floor.fault(f"{self.person_id}: {data.TYPE} about a call that this agent does not have")
            return
        match data:
            case wire.ReservationAccepted():
                engagement.accepted_ms, engagement.outcome = now_ms, "accepted"
                self.ask(said.ReportCallConnected(engagement.call_id))
            case wire.CallConnected():
                engagement.connected_ms = now_ms
                if self._arrival is not None and self._arrival.ends == "agent":
                    self.later(self._arrival.talk_ms, self._hang_up, engagement)
            case wire.CallEnded():
                engagement.ended_ms = now_ms
                if data.wrap_up == "none":
                    self._over(engagement, seq)
                elif data.wrap_up == "until_done":
                    self.later(self.floor.wrap_up_ms, self.ask, said.WrapUpDone(engagement.call_id))
            case wire.ReservationClosed():
                engagement.outcome = data.outcome
                self._over(engagement, seq)
            case wire.CallRequeued() | wire.WrapUpEnded():
                self._over(engagement, seq)

    def _on_state(self, data: wire.AgentState) -> None:
        if data.activity != "ready" and not self._is_leaving:
            self.floor.fault(f"{self.person_id}: was made {data.activity} ({data.reason}) in the middle of the run")

    def _on_reserved(self, data: wire.ReservationNew, seq: int) -> None:
        now_ms, arrival = self.floor.now_ms, self.floor.arrival(data.business_reference)
        if self._engagement is not None:
            # Left in the records as two engagements that overlap; the accounts name them.
            self.floor.fault(f"{self.person_id}: {data.call_id} rings while {self._engagement.call_id} is not over")
        number = arrival.number if arrival is not None else -1
        engagement = Engagement(
            self.person_id, data.call_id, data.reservation_id, number, data.attempt, data.waited_ms, now_ms, seq
        )
        self._engagement, self._arrival = engagement, arrival
        self.floor.engage(engagement)
        if arrival is None:
            self.floor.fault(f"{self.person_id}: {data.call_id} is not a call of this run")
            return
        if data.attempt == 1 and data.waited_ms == 0:
            self.floor.count("decision with a free agent", now_ms - arrival.at_ms, "")
        self.later(arrival.answer_ms, self._accept, engagement)

    def _accept(self, engagement: Engagement) -> None:
        if not engagement.outcome:
            self.ask(said.ReservationAccept(engagement.reservation_id))

    def _hang_up(self, engagement: Engagement) -> None:
        if engagement.ended_ms is None:
            self.ask(said.CallHangUp(engagement.call_id))

    def _over(self, engagement: Engagement, seq: int) -> None:
        engagement.over_ms, engagement.over_seq = self.floor.now_ms, seq
        self._engagement = self._arrival = None
        self.floor.disengage()
