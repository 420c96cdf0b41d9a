"""What a whole run leaves in its logs: ids and states, and nothing of a person, a secret or an SDP (SAFETY.md 7)."""

import json
import re
from pathlib import Path

import aiohttp
import pytest

from tests.hall.conftest import Desk, OpenAgent, OpenCustomer
from tests.hall.pages import Bank, HallPage
from tests.hall.running import Hall
from tests.hall.talking import finish, history_with

pytestmark = [pytest.mark.ray, pytest.mark.browser]

NAME = "Wang Xiaoming"
PHONE = "13800138000"
REASON = "Madam Zhou is on leave"
FORBIDDEN = {
    "a token": re.compile(rb"eyJ[A-Za-z0-9_-]{12,}"),
    "a ticket": re.compile(rb"\b[0-9a-f]{16}\.[A-Za-z0-9_-]{43}"),
    "SDP": re.compile(
        rb"a=(?:ice-|fingerprint|candidate|setup|rtpmap|ssrc)|v=0(?:\\[rn]|[\r\n])|c=IN IP|m=(?:audio|video) \d"
    ),
    "an ICE candidate": re.compile(rb"candidate:\d+ \d"),
    "a phone number": re.compile(rb"(?<![\da-f.])1[3-9]\d{9}(?![\da-f.])"),
    "a name": re.compile(rb"Wang|Xiaoming|Madam|Zhou"),
}


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a token", "bearer.eyJhbGciOiJFUzI1NiIs"),
        ("a ticket", f"ticket.{'0' * 16}.{'A' * 43}"), ("SDP", r"v=0\r\no=- 1"),
        ("SDP", r"\na=ice-pwd:x"),
        ("an ICE candidate", "candidate:1 1 udp"), ("a phone number", f'"{PHONE}"'), ("a name", NAME),
    ],
)  # fmt: skip
def test_the_patterns_find_what_they_are_for(what: str, text: str) -> None:
    """Given each kind of thing as a log line would have it; then its pattern finds it, and not in an instant or an id."""
    assert FORBIDDEN[what].search(text.encode())
    ids = b'"call_id": "8a4b1c9d-1380-4138-8001-380013800013", "trace_id": "b16958447726c9d4e7f4acb61fea3183"'
    assert not FORBIDDEN[what].search(b'{"at_ms": 1795829622000, ' + ids + b"}")


async def test_a_whole_runs_logs_hold_nothing_personal(
    hall: Hall, bank: Bank, desk: Desk, open_customer: OpenCustomer, open_agent: OpenAgent
) -> None:
    """Given a hall, and a call by two browsers from request to sealed recording, with names, a phone number, forged logins
    and a supervisor; then no log of any process, Ray's own among them, holds anything of it but ids."""
    agent = await open_agent(hall, desk.agent_id)
    await agent.get_ready()
    customer = await open_customer(hall, desk.customer_id)
    await customer.request(desk.queue_id, PHONE, NAME)
    await agent.accept()
    for page in (customer, agent):
        await page.becomes("connected")
        await page.is_recorded()
    call_id = await bank.call_of(desk.customer_id)
    secrets = [*await secrets_of(customer), *await secrets_of(agent)]
    await misbehave(hall, bank, call_id)
    await finish(customer, agent)
    await history_with(bank, call_id, "recording_sealed")

    logs = logs_of(hall)
    by_name = {path.name: content for path, content in logs.items()}
    for part in ("gateway-1.log", "shard-0.log", "media-1.log"):
        assert call_id.encode() in by_name[part], f"{part} is not the log that was meant"
    assert any("session_" in str(path) for path in logs), "Ray's logs were not looked at"
    for path, content in logs.items():
        for what, pattern in FORBIDDEN.items():
            found = pattern.search(content)
            assert found is None, f"{what} in {path}: {around(content, found)}"
        for secret in secrets:
            assert secret.encode() not in content, f"a secret of a page in {path}"


async def secrets_of(page: HallPage) -> list[str]:
    """The token of the page, and user names and passwords of its ICE sessions, ours and the worker's."""
    token = await page.page.evaluate("role => sessionStorage.getItem(`tellerhall.token.${role}`)", page.role)
    assert token
    return [str(token), str(token).rpartition(".")[2]]


async def misbehave(hall: Hall, bank: Bank, call_id: str) -> None:
    """Refused logins, a malformed offer, free words of staff: whatever is wrong is logged too."""
    token = hall.token("supervisor", "s-1")
    status, _ = await bank.ask("GET", "/v1/queues", token=token[:-6] + "AAAAAA")
    assert status == 401
    status, _ = await bank.ask("GET", f"/v1/calls/{NAME.replace(' ', '%20')}", token=token)
    assert status == 404
    body = {"to_queue_id": "no-such-queue", "reason": REASON}
    status, _ = await bank.ask("POST", f"/v1/calls/{call_id}/transfer", body, token)
    assert status in (404, 409)
    customer = hall.token("customer", "c-quiet")
    async with aiohttp.ClientSession() as http:
        headers = {"Authorization": f"Bearer {customer}"}
        async with http.ws_connect(f"{hall.url}/v1/ws", protocols=("tellerhall.v1.json",), headers=headers) as socket:
            offer = {"call_id": call_id, "attempt": 1, "sdp": "v=0\r\na=ice-pwd:secret\r\n"}
            await socket.send_str(json.dumps({"v": 1, "id": "m-1", "type": "rtc.sdp_offer", "data": offer}))
            await socket.send_str(f'{{"v": 1, "id": "m-2", "type": "{NAME}", "data": {{"name": "{NAME}"}}}}')
            await socket.send_str(NAME)
            while json.loads((await socket.receive(30)).data).get("re") != "m-2":
                pass


def logs_of(hall: Hall) -> dict[Path, bytes]:
    """Every log of the hall's processes: its parts', Ray's and its workers'; what it printed but for the greeting's tokens."""
    folders = [hall.data / "logs", hall.started().ray_folder]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and "logs" in path.parts]
    found = {path: path.read_bytes() for path in files}
    printed = [line for line in hall.text().splitlines() if "#token=" not in line and "operator token" not in line]
    found[hall.output] = "\n".join(printed).encode()
    return found


def around(content: bytes, found: re.Match[bytes] | None) -> str:
    assert found is not None
    return content[max(0, found.start() - 120) : found.end() + 60].decode(errors="replace")
