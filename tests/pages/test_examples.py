"""The examples of docs/clients.md, as printed: only the address and the token are put in."""

import asyncio
import json
import os
import re
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from actors.media_part import MediaPart
from gateway.app import Gateway
from tests.gateway.client import Visitor
from tests.gateway.real_media import Person
from tests.hall.pages import PATIENCE_MS
from tests.pages.conftest import PAGE

Token = Callable[..., str]
DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"
LINES_MAX = 15


def example(name: str) -> str:
    """The code block under its mark: short, or it is none."""
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found, name
    assert len(found[1].splitlines()) <= LINES_MAX
    return found[1]


def placed(code: str, gateway: Gateway) -> str:
    assert "https://calls.bank.example" in code
    return code.replace("https://calls.bank.example", f"http://127.0.0.1:{gateway.port}")


@pytest.mark.browser
async def test_the_example_of_a_page_is_a_call(hall: tuple[MediaPart, Gateway], browser: Browser, token: Token) -> None:
    """Given the printed lines in a page of another origin, when an agent takes the call, then the page shows the agent's
    moving picture and the agent sees the page's; when the agent hangs up, then its camera is given back."""
    _, gateway = hall
    script = f"const TOKEN = {token('customer', 'c-1')!r};\n{placed(example('a page'), gateway)}\nwindow.room = room;"
    body = f"<!doctype html><video autoplay playsinline muted></video><script type=module>{script}</script>"
    async with aiohttp.ClientSession() as http:
        agent = await Visitor(http, f"http://127.0.0.1:{gateway.port}").greeted(token("agent", "a-1"))
        await agent.ask("agent.state", {"activity": "ready"})
        page = await (await browser.new_context()).new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.route(f"{PAGE}/", lambda route: route.fulfill(body=body, content_type="text/html"))
        await page.goto(f"{PAGE}/")
        ringing = await until_message(agent, "reservation.new")
        await agent.ask("reservation.accept", {"reservation_id": ringing["reservation_id"]})
        room = await until_message(agent, "rtc.room")
        person = Person()
        answer = await agent.ask("rtc.sdp_offer", {**room, "sdp": await person.offer()})
        await person.accept(answer["data"]["value"]["sdp_answer"])
        await until_message(agent, "call.connected")
        shows = "document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames > 20"
        await page.wait_for_function(shows, timeout=PATIENCE_MS)
        assert person.frames_count["video"] > 0
        assert person.frames_count["audio"] > 0
        await agent.ask("call.hang_up", {"call_id": ringing["call_id"]})
        await page.wait_for_function("room.localStream === null", timeout=PATIENCE_MS)
        assert errors == []
        await expect(page.locator("video")).to_be_attached()
        await person.close()
        await agent.socket.close()


async def until_message(client: object, type_: str) -> dict[str, str]:
    """Wait longer than a message needs: a browser starts meanwhile."""
    for _ in range(12):
        try:
            found: dict[str, str] = (await client.until(type_))["data"]  # type: ignore[attr-defined]
            return found
        except TimeoutError:
            continue
    raise AssertionError(f"no {type_}")


async def test_the_example_of_a_program_prints_a_calls_life(
    hall: tuple[MediaPart, Gateway], token: Token, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given the printed lines, when they run, then they print the welcome and what became of the call."""
    _, gateway = hall
    code = compile(textwrap.dedent(placed(example("a program"), gateway)), "docs/clients.md", "exec")
    await asyncio.to_thread(exec, code, {"TOKEN": token("customer", "c-1")})
    printed = [line.split(" ", 1)[0] for line in capsys.readouterr().out.splitlines()]
    types = [word for word in printed if "." in word and word != "queue.update"]
    assert types == ["session.welcome", "call.queued", "call.ended"]


async def test_the_example_of_a_back_end_is_a_calls_life(
    hall: tuple[MediaPart, Gateway], token: Token, tmp_path: Path
) -> None:
    """Given the printed lines in a shell, when they run, then each is answered: one call, whatever is repeated, from its
    request to its history."""
    bash = shutil.which("bash")
    assert bash
    assert shutil.which("curl"), "this example needs curl: apt-get install curl"
    shell = await asyncio.create_subprocess_exec(
        bash,
        "-euo",
        "pipefail",
        "-c",
        placed(example("a back end"), hall[1]),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "TOKEN": token("operator", "crm")},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await shell.communicate()
    assert shell.returncode == 0, printed
    queues, again, waiting, why, ended, history = [json.loads(line) for line in printed.splitlines() if line]
    call_id = json.loads((tmp_path / "call.json").read_text())["call_id"]
    assert "loans" in [one["queue_id"] for one in queues["queues"]]
    assert again["call_id"] == call_id
    assert [one["call_id"] for one in waiting["calls"]] == [call_id]
    assert why["now"]["state"] == "waiting"
    assert ended == {}
    assert [event["type"] for event in history["events"]] == ["call_queued", "call_ended"]
