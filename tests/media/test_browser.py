"""Two real Chromium pages with fake cameras on one worker: the answer suits a browser, and the picture is full size soon."""

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from media.reports import PartyJoined, RecordingSealed
from tests.media.conftest import MakeWorker, order

CONNECT = """async (party) => {
  const peer = new RTCPeerConnection({iceServers: []});
  window.peer = peer;
  const video = document.createElement("video");
  video.autoplay = true; document.body.append(video);
  peer.ontrack = (event) => { video.srcObject = event.streams[0]; };
  const media = await navigator.mediaDevices.getUserMedia({audio: true, video: {width: 640, height: 480}});
  for (const kind of ["audio", "video"]) {
    const track = media.getTracks().find((one) => one.kind === kind);
    peer.addTransceiver(track, {direction: "sendrecv", streams: [media]});
  }
  await peer.setLocalDescription();
  const answer = await window.answerOffer(party, peer.localDescription.sdp);
  await peer.setRemoteDescription({type: "answer", sdp: answer});
}"""

STATS = """async () => {
  const found = {};
  for (const one of (await window.peer.getStats()).values()) {
    if (one.type === "inbound-rtp" && one.kind === "video")
      Object.assign(found, {frames: one.framesDecoded || 0, width: one.frameWidth || 0, freezes: one.freezeCount || 0});
    if (one.type === "inbound-rtp" && one.kind === "audio")
      Object.assign(found, {energy: one.totalAudioEnergy || 0, samples: one.totalSamplesReceived || 0});
  }
  return found;
}"""


@pytest.fixture
async def pages() -> AsyncIterator[list[Page]]:
    """Two pages with fake cameras and microphones."""
    chromium = shutil.which("chromium")
    assert chromium, "install Debian's package chromium"
    flags = [
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        "--no-sandbox",
    ]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=flags)
        # getUserMedia needs a secure origin; about:blank is none, a routed localhost is.
        made = [await (await browser.new_context()).new_page() for _ in range(2)]
        for page in made:
            await page.route(
                "http://localhost/", lambda route: route.fulfill(body="<body></body>", content_type="text/html")
            )
            await page.goto("http://localhost/")
        yield made
        await browser.close()


@pytest.mark.browser
async def test_browsers_see_and_hear_each_other(make_worker: MakeWorker, pages: list[Page]) -> None:
    """Given a recorded room, when two browsers join, then both decode 640x480 and sound, and the recording is sealed."""
    worker, reports = await make_worker()
    await worker.open_room(order())

    async def answer(party: str, sdp: str) -> str:
        return await worker.answer("call-1", 1, party, sdp)

    for page, party in zip(pages, ("customer", "agent"), strict=True):
        await page.expose_function("answerOffer", answer)
        await page.evaluate(CONNECT, party)
    await reports.wait(PartyJoined, 2, timeout=20)
    await pages[0].wait_for_timeout(6_000)
    for page in pages:
        stats = await page.evaluate(STATS)
        assert stats["frames"] > 30, stats
        assert stats["width"] == 640, stats
        assert stats["energy"] > 0, stats
    await worker.close_room("call-1", 1)
    (sealed,) = await reports.wait(RecordingSealed, timeout=20)
    assert isinstance(sealed, RecordingSealed)
    assert sealed.gaps == []
    assert {file.party for file in sealed.files} == {"customer", "agent"}
