"""Virtual time: an event loop that never waits, and simulated processes that can be killed or frozen between two callbacks.

Rules
- Whatever is ready runs in the order in which it became ready, as asyncio promises; when nothing is ready, the clock jumps to
  the next timer. Each callback takes `CALLBACK_NS`, so no two share an instant and a loop without a wait gets older.
- Every callback belongs to the process whose context made it. A killed process runs nothing more, not even a `finally`; a
  frozen one runs what it missed when it goes on, as after SIGSTOP and SIGCONT. Nobody else is told.
- Nothing here depends on an address or on the order of a set: tasks and futures are hashed by their number.

Theory: asyncio calls everything through `call_soon` and `call_at` with a context; a context variable names the process. So the
product's own code, with its tasks, locks and timers, runs unchanged, and dies as a process dies.

Not here: time and chance as the product reads them (`chance`), messages between processes (`wire`).
"""

import asyncio
import contextvars
import heapq
import inspect
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

CALLBACK_NS = 1_000
SAME_INSTANT_MAX = 100_000
"""Callbacks without any timer in between: by then something turns in a circle."""
EXECUTOR_S = 0.002
"""How long work in another thread takes: a write to a disk."""


class Violation(AssertionError):
    """Something that must always hold does not."""


class Process:
    """A simulated process. `alive`, `frozen` or `dead`; the world outside of all is one that is never harmed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = "alive"
        self.held: deque[asyncio.Handle] = deque()
        """What became ready while it was frozen."""
        self.doom: tuple[int, Callable[[], None]] | None = None
        """After so many more callbacks, do this to it."""
        self.wall_offset_ns = 0
        """By how much its wall clock is wrong."""
        self.at_death: list[Callable[[], None]] = []
        self.context = contextvars.Context()
        self.context.run(PROCESS.set, self)

    def __repr__(self) -> str:
        return f"<Process {self.name} {self.state}>"

    @property
    def is_dead(self) -> bool:
        return self.state == "dead"


PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class _Future(asyncio.Future[Any]):
    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class _Task(asyncio.Task[Any]):
    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without sockets, threads and waiting. `failure` ends the run at the next callback."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.callbacks_count = 0
        self.failure: BaseException | None = None
        self.is_over = False
        self._queue: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._numbers = count(1)
        self._same_instant = 0
        self._tasks: list[asyncio.Task[Any]] = []
        """All that may still run: a task nobody else knows must not be collected, and run its `finally`, by chance."""
        self._sweep_at = 10_000

    # -- what asyncio asks of a loop

    def time(self) -> float:
        return self.now_ns / 1e9

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.is_over:
            self._queue.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if not self.is_over:
            heapq.heappush(self._timers, (int(when * 1e9), next(self._numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It stays until its turn comes and is passed over then."""

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(next(self._numbers), self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> asyncio.Task[Any]:
        task = _Task(next(self._numbers), coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > self._sweep_at:
            self._tasks = [one for one in self._tasks if not one.done()]
            self._sweep_at = max(10_000, 2 * len(self._tasks))
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        """Work of another thread: done at one instant a little later, unless the process is dead by then."""
        future = self.create_future()
        self.call_later(EXECUTOR_S, _do_work, future, func, args)
        return future

    def _run_once(self) -> None:
        if self.failure is not None:
            raise self.failure
        while not self._queue:
            self._next_timer()
        handle = self._queue.popleft()
        if handle.cancelled():
            return
        process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
        if process is not None and not self._may_run(process, handle):
            return
        self._same_instant += 1
        if self._same_instant > SAME_INSTANT_MAX:
            raise Violation(f"turns in a circle: {handle!r}")
        self.now_ns += CALLBACK_NS
        self.callbacks_count += 1
        handle._run()

    # -- time and processes

    def _next_timer(self) -> None:
        if not self._timers:
            raise Violation("nothing will ever happen any more, and the run is not over")
        when_ns, _, timer = heapq.heappop(self._timers)
        if not timer.cancelled():
            self.now_ns = max(self.now_ns, when_ns)
            self._same_instant = 0
            self._queue.append(timer)

    def _may_run(self, process: Process, handle: asyncio.Handle) -> bool:
        if process.doom is not None and process.state == "alive":
            left, strike = process.doom
            process.doom = (left - 1, strike) if left > 0 else None
            if process.doom is None:
                strike()
        if process.state == "frozen":
            process.held.append(handle)
        return process.state == "alive"

    def kill(self, process: Process) -> None:
        """As kill -9: what it was about to do does not happen."""
        if not process.is_dead:
            process.state = "dead"
            process.held.clear()
            for tell in process.at_death:
                tell()

    def freeze(self, process: Process) -> None:
        if process.state == "alive":
            process.state = "frozen"

    def go_on(self, process: Process) -> None:
        if process.state == "frozen":
            process.state = "alive"
            self._queue.extend(process.held)
            process.held.clear()

    def spawn(self, process: Process, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` as that process."""
        return self.create_task(work, context=process.context.copy())

    def end(self) -> None:
        """Let go of everything: what is left is thrown away without running."""
        self.is_over = True
        self._queue.clear()
        self._timers.clear()
        for task in self._tasks:
            if inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_CREATED:  # type: ignore[arg-type]
                task.get_coro().close()  # Or it is complained of as never awaited.

            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.clear()
        self.close()


def _do_work(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.done():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:
        future.set_exception(error)


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nobody, now: what the twin of the store does, it does at one instant."""
    try:
        while work.send(None) is None:
            pass
    except StopIteration as done:
        return done.value
    work.close()
    raise Violation("the twin of the store waited inside of a request")
