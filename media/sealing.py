"""The worker's side of the finaliser: a low-priority process that turns capture logs into playable files.

It is another process because muxing is work in one piece: in the worker's loop it would hold up every call's packets, and
a crash in it must not end them. One runs at a time; it is started with the first recording to seal, ends when it had
nothing to do for a while, and ends with its parent. A job that crashes or overruns it is given to a fresh one once more,
without muxing: then the manifest names the logs alone and says why.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from media.evidence import read_sealed
from media.reports import RecordingSealed

JOB_TIMEOUT_S = 120.0
"""Muxing takes 0.0012 s of CPU for a second of one party; this leaves a loaded machine a hundred times that for a call."""
JOB_TIMEOUT_PER_MIB_S = 1.0
IDLE_S = 30.0
EXIT_TIMEOUT_S = 2.0


class Finaliser:
    """Seals recordings, one after the other."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None
        self.waiting_count = 0
        """Recordings that wait to be sealed, with the one that is being."""

    async def finalise(self, folder: Path) -> RecordingSealed | None:
        """Seal what lies in `folder`; None when that cannot be done now (another process has it, or the disk fails)."""
        self.waiting_count += 1
        try:
            async with self._turn:
                if self._idle is not None:
                    self._idle.cancel()
                for is_playable in (True, False):
                    if await self._ask(folder, is_playable):
                        return await asyncio.to_thread(read_sealed, folder)
        except OSError:
            return None
        finally:
            self.waiting_count -= 1
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._end_if_idle)
        return None

    async def _ask(self, folder: Path, is_playable: bool) -> bool:
        size_mib = await asyncio.to_thread(_size_mib, folder)
        line = json.dumps({"folder": str(folder), "is_playable": is_playable}).encode() + b"\n"
        try:
            process = self._started()
            # A cancelled or late exchange ends with the process: its pipe closes, and the thread's read returns.
            answer = await asyncio.wait_for(
                asyncio.to_thread(_exchange, process, line), JOB_TIMEOUT_S + JOB_TIMEOUT_PER_MIB_S * size_mib
            )
        except (TimeoutError, OSError):
            self._kill()
            return False
        except asyncio.CancelledError:
            self._kill()
            raise
        if not answer:
            self._kill()
        return answer == b"sealed\n"

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            # Our own folder first: a package of the same name elsewhere on the path would be another program.
            source = str(Path(__file__).resolve().parents[1])
            path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
            self._process = subprocess.Popen(
                [sys.executable, "-m", "media.finaliser", str(self._root), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
            )
        return self._process

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_TIMEOUT_S)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process = None

    def _end_if_idle(self) -> None:
        if self.waiting_count == 0:
            self._kill()

    def close(self) -> None:
        """End the process. What was not sealed is found at the next start."""
        if self._idle is not None:
            self._idle.cancel()
        self._kill()


def _size_mib(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / (1 << 20)


def _exchange(process: "subprocess.Popen[bytes]", line: bytes) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    process.stdin.flush()
    return process.stdout.readline()
