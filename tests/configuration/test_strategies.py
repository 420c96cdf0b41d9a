"""Strategies of installed packages: found by entry point, registered in every process, compared by the build handshake.

Each test installs a tiny distribution into a folder of its own and asks a fresh process: what is registered stays registered.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actors.build import STRATEGIES, DifferentBuild, build_digest, handshake

ROOT = Path(__file__).parents[2]
SOURCE = '''
def patient_first(agent, queue, now_ms):
    """Who has served the most is asked first."""
    return -agent.answered_count


number = 7
'''
PLAN = '[[divisions]]\ndivision_id = "main"\n[[divisions.queues]]\nid = "loans"\nstrategy = "patient_first"\n'


def install(folder: Path, entry: str = "patient_first = our_bank:patient_first", version: str = "1.2") -> Path:
    """Put a distribution with one module into `folder`, as an installer does."""
    folder.mkdir(exist_ok=True)
    (folder / "our_bank.py").write_text(SOURCE)
    about = folder / f"our_bank-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: our-bank\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(f"[tellerhall.strategies]\n{entry}\n")
    return folder


def ask(program: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that imports this tree and what `paths` hold."""
    path = "\n".join([f"import sys; sys.path[:0] = {[str(one) for one in (*paths, ROOT)]}", program])
    return subprocess.run([sys.executable, "-c", path], capture_output=True, text=True, check=False, timeout=60)


def load(configuration: Path) -> str:
    return (
        f"from actors.configuration import load, ConfigurationError; from pathlib import Path\n"
        f"try: print(load(Path({str(configuration)!r})).divisions[0].queues[0].strategy)\n"
        f"except ConfigurationError as error: print(error)"
    )


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "hall.toml"
    path.write_text(PLAN)
    return path


def test_a_queue_may_name_an_installed_strategy(tmp_path: Path, configuration: Path) -> None:
    """Given the package; then the configuration is right; without it the unknown strategy is named beside the known ones."""
    assert ask(load(configuration), install(tmp_path / "site")).stdout == "patient_first\n"
    refused = ask(load(configuration)).stdout
    assert "divisions[0].queues[0].strategy: 'patient_first' is unknown; known are fewest_calls" in refused


DECIDE = """
import msgspec
from actors.parts import StoreSettings, ShardPart, ShardPartSettings, FollowerPart, FollowerPartSettings
from dispatch.choice import registered_strategies
from dispatch.engine import Engine
from dispatch import commands as cm
from dispatch.plan import AgentPlan, Plan, QueuePlan

store = StoreSettings("redis://127.0.0.1:1/0")
if {kind!r} == "shard":
    ShardPart(msgspec.msgpack.encode(ShardPartSettings("s", ["main"], store)), None)
else:
    FollowerPart(msgspec.msgpack.encode(FollowerPartSettings(["main"], store, {archive!r})), None)
assert registered_strategies() == ["patient_first"]
plan = Plan("main", [QueuePlan("loans", strategy="patient_first", recording="off", media="external", wrap_up="none")],
            [AgentPlan("a-1"), AgentPlan("a-2")])
engine = Engine("main")
rang = []
def step(command, at_ms):
    events, effects = engine.step(command, at_ms)
    assert not effects[-1].reason, effects[-1]
    rang.extend(one.agent_id for one in events if type(one).__name__ == "CallReserved")
step(cm.ApplyPlan(plan=plan, digest="d"), 1)
for agent_id in ("a-1", "a-2"):
    step(cm.SetActivity(agent_id=agent_id, activity="ready"), 2)
for number in range(3):
    call_id = "k-" + str(number)
    step(cm.RequestCall(call_id=call_id, customer_id="c", queue_id="loans", is_consented=True), 3 + number)
    step(cm.AcceptReservation(reservation_id=call_id + ".1", agent_id=rang[-1]), 3 + number)
    step(cm.HangUp(call_id=call_id), 3 + number)
print(rang)
"""


@pytest.mark.parametrize("kind", ["shard", "follower"])
def test_the_parts_decide_by_it(tmp_path: Path, kind: str) -> None:
    """Given a part of that kind, made; then its process knows the strategy, and the engine asks whom it names."""
    program = DECIDE.format(kind=kind, archive=str(tmp_path / "archive"))
    answer = ask(program, install(tmp_path / "site"))
    assert answer.stdout == "['a-1', 'a-1', 'a-1']\n", answer.stderr


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("patient_first = our_bank:gone", "patient_first of our-bank 1.2: AttributeError"),
        ("patient_first = their_bank:gone", "patient_first of our-bank 1.2: ModuleNotFoundError"),
        ("patient_first = our_bank:number", "patient_first of our-bank 1.2: is not a function"),
        ("longest_idle = our_bank:patient_first", "longest_idle of our-bank 1.2: strategy 'longest_idle' is taken"),
    ],
)
def test_one_that_cannot_be_used_is_named(tmp_path: Path, configuration: Path, entry: str, why: str) -> None:
    """Given a package whose entry leads nowhere, to no function or to a name of ours; then nothing starts, and why is said."""
    answer = ask(load(configuration), install(tmp_path / "site", entry)).stdout
    assert answer.count("\n") == 1
    assert f"strategies: {why}" in answer


def test_the_handshake_compares_names_and_versions(tmp_path: Path) -> None:
    """Given a process with the package; then one without it, or with another version, is of another build, by name."""
    program = "import json; from actors.build import build_digest; print(json.dumps(build_digest()))"
    theirs = json.loads(ask(program, install(tmp_path / "first")).stdout)
    newer = json.loads(ask(program, install(tmp_path / "second", version="1.3")).stdout)
    assert (theirs[STRATEGIES], newer[STRATEGIES]) == ("patient_first of our-bank 1.2", "patient_first of our-bank 1.3")
    assert build_digest()[STRATEGIES] == ""
    with pytest.raises(DifferentBuild, match=r"strategies:  here, patient_first of our-bank 1\.2 there"):
        handshake(theirs)
