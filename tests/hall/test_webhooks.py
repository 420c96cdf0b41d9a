"""Webhooks of a real hall: its own sender process, started and started anew by the supervisor, tells a real receiver."""

import asyncio
import base64
import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest

from actors.webhook_book import Secret
from tests.gateway.receiving import Receiver, is_signed
from tests.hall.pages import Bank
from tests.hall.running import Hall
from tests.hall.test_watching import CONFIGURATION
from tests.waiting import until

pytestmark = pytest.mark.ray


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.start()
    yield made
    await made.stop()


def told(receiver: Receiver, call_id: str) -> list[str]:
    """What was told of a call and taken, each once, in order."""
    return list(dict.fromkeys(one.event["type"] for one in receiver.taken if one.event["subject"] == call_id))


async def a_call(bank: Bank, number: int) -> str:
    """A call that waits and is taken back."""
    body = {"queue_id": "loans", "is_consented": True, "customer_id": f"c-{number}"}
    status, made = await bank.ask("POST", "/v1/calls", body, key=f"call {number}")
    assert status == 201, made
    assert (await bank.ask("DELETE", f"/v1/calls/{made['call_id']}"))[0] == 200
    return str(made["call_id"])


async def test_a_halls_webhooks_outlive_their_sender(new_hall: Callable[[str], Hall], receiver: Receiver) -> None:
    """Given a hall that may send here, and an endpoint; when calls come and go, and the sender is killed between them; then
    each call's life is told, signed and in order, by the sender and by its successor, and the hall says how it stands."""
    hall = new_hall("hall")
    (hall.folder / "hall.toml").write_text(CONFIGURATION + '\n[webhooks]\nallowed_hosts = ["127.0.0.1"]\n')
    hall.start("--port", "0", "--config", str(hall.folder / "hall.toml"), environment={"TELLERHALL_MEDIA_WORKERS": "0"})
    bank = Bank(hall)
    status, endpoint = await bank.ask("POST", "/v1/webhooks", {"url": receiver.url}, key="crm")
    assert status == 201, endpoint
    secret = Secret(base64.b64decode(endpoint["secret"].removeprefix("whsec_")))
    life = ["tellerhall.call_queued", "tellerhall.call_ended"]
    first = await a_call(bank, 1)
    await until(lambda: told(receiver, first) == life)
    assert all(is_signed(one, secret, time.time()) for one in receiver.taken)
    pid = await bank.pid("webhooks")
    os.kill(pid, signal.SIGKILL)
    second = await a_call(bank, 2)
    await until(lambda: told(receiver, second) == life)
    assert await bank.pid("webhooks") != pid
    [shown] = (await bank.get("/v1/webhooks"))["webhooks"]
    assert (shown["webhook_id"], shown["is_enabled"]) == (endpoint["webhook_id"], True)
    started = hall.started()
    await asyncio.to_thread(hall.interrupt)
    started.assert_gone()
