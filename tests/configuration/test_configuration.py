"""One TOML file becomes settings, or every mistake is named with place, value and what is allowed."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec import inspect

import gateway
from actors.configuration import SECTIONS, ConfigurationError, load, plan_digest
from dispatch.hours import phase_at
from dispatch.plan import STRATEGIES, AgentPlan, Media, Plan, QueuePlan, Recording, WrapUp, meets

DEMO = Path(gateway.__path__[0]) / "demo.toml"
DIVISION = '[[divisions]]\ndivision_id = "main"\n'

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a configuration file."""

    def write_file(text: str) -> Path:
        path = tmp_path / "hall.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def mistakes(path: Path, **sources: dict[str, str]) -> list[str]:
    """Load what must not load; return the lines without the file's folder."""
    with pytest.raises(ConfigurationError) as error:
        load(path, **sources)  # type: ignore[arg-type]
    assert str(error.value) == "\n".join(error.value.lines)
    return [line.replace(f"{path.parent}/", "") for line in error.value.lines]


def test_the_demo_hall_is_what_the_pages_expect() -> None:
    """Given the demo file, when it is loaded, then there are three queues in two languages and four agents."""
    [plan] = load(DEMO).divisions
    assert plan.division_id == "main"
    assert [queue.id for queue in plan.queues] == ["loans", "cards", "wealth"]
    assert all(set(queue.name) == {"en", "zh"} for queue in plan.queues)
    assert [agent.id for agent in plan.agents] == ["a-1", "a-2", "a-3", "a-4"]
    skilled = [agent for agent in plan.agents if all(skill in agent.skills for skill in ("loans", "cards", "wealth"))]
    assert [agent.id for agent in skilled] == ["a-4"]


def test_the_demo_hall_shows_what_queues_can_and_never_closes() -> None:
    """Given the demo file; then one queue widens its need, passes calls on and has hours, in which it is always open."""
    [plan] = load(DEMO).divisions
    wealth = plan.queues[2]
    assert wealth.hours is not None
    assert wealth.hours.offset_minutes == 480
    assert phase_at(wealth.hours, wealth.closing_grace_ms, 1_795_480_000_000) == ("open", 0)
    narrow = [agent.id for agent in plan.agents if meets(agent.skills, wealth.need)]
    wide = [agent.id for agent in plan.agents if meets(agent.skills, wealth.relaxation[0].need)]
    assert (narrow, wide) == (["a-3", "a-4"], ["a-2", "a-3", "a-4"])
    assert [way.do for way in wealth.on_wait] == ["overflow", "callback"]


def _shown() -> str:
    """The demo file with its shown defaults made real."""
    shown = re.sub(r"(?m)^#(?=[a-z_]+ = )", "", DEMO.read_text(encoding="utf-8"))
    return shown.replace("metrics_port = 9464\n", "")  # Its default is to be left out, which TOML cannot show.


def test_the_demo_file_explains_every_key_with_its_true_default(write: Write) -> None:
    """Given the demo file with its shown defaults made real, when it is loaded, then nothing changes and no key is absent."""
    shown = _shown()
    assert load(write(shown)) == load(DEMO)
    spelt = msgspec.toml.decode(shown.encode())
    for section, kind in SECTIONS.items():
        missing = {one.name for one in msgspec.structs.fields(kind)} - set(spelt[section]) - {"metrics_port"}
        assert not missing, section
    division = spelt["divisions"][0]
    for kind, table in ((Plan, division), (QueuePlan, division["queues"][0]), (AgentPlan, division["agents"][0])):
        # Hours: none by default, which TOML cannot show; they stand at the third queue.
        assert {one.name for one in msgspec.structs.fields(kind)} - {"hours"} == set(table)
    assert "metrics_port" in DEMO.read_text(encoding="utf-8")


def _number_keys() -> Iterator[tuple[str, int, int]]:
    for kind in (Plan, QueuePlan, AgentPlan):
        for one in inspect.type_info(kind).fields:  # type: ignore[union-attr]
            if isinstance(one.type, inspect.IntType):
                assert one.type.ge is not None
                assert one.type.le is not None
                yield one.name, one.type.ge, one.type.le


@pytest.mark.parametrize(("key", "low", "high"), [*_number_keys()])
def test_the_demo_file_names_the_range_of_every_number(key: str, low: int, high: int) -> None:
    """Given each number of a division; then the comment behind it in the demo file goes from its least to its most."""
    [comment] = re.findall(rf"(?m)^#?{key} = [0-9_]+  # (.+ to .+)$", DEMO.read_text(encoding="utf-8"))
    numbers = [int(one) for one in re.findall("[0-9_]+", comment)]
    assert (numbers[0], numbers[-1]) == (low, high)


@pytest.mark.parametrize("word", [*STRATEGIES, *get_args(WrapUp), *get_args(Recording), *get_args(Media), "overflow"])
def test_the_demo_file_names_every_choice(word: str) -> None:
    """Given each value that a key takes by name; then the demo file says it in quotes."""
    assert f'"{word}"' in DEMO.read_text(encoding="utf-8")


def test_a_file_with_a_division_alone_is_enough(write: Write) -> None:
    """Given the smallest file, when it is loaded, then every section has its defaults and folders are absolute."""
    configuration = load(write(DIVISION))
    assert configuration.gateway.port == 8080
    assert configuration.data_folder == Path.cwd() / "data"
    assert configuration.recordings_folder == configuration.data_folder / "recordings"


def test_all_mistakes_are_named_at_once(write: Write) -> None:
    """Given eight mistakes of different kinds, when the file is loaded, then each is named with key, value and rule."""
    path = write(
        """
        colour = "red"
        [gateway]
        port = 70000
        prot = 1
        tls_self_signed = "yes"
        allowed_origins = ["https://bank.example", "bank"]
        [[divisions]]
        division_id = "main"
        agents = [{ name = "nobody" }]
        [[divisions.queues]]
        id = "loans"
        need = { loans = 11, "b d" = 1 }
        recording = "maybe"
        """
    )
    pattern = "^[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}\\Z"
    lines = mistakes(path)
    assert lines[0].startswith("hall.toml: colour: 'red' is there: unknown key; known are hall, gateway,")
    assert lines[1] == "hall.toml: gateway.port: 70000 is there: allowed is a whole number from 0 to 65535"
    assert lines[2].startswith("hall.toml: gateway.prot: 1 is there: unknown key; known are host, port,")
    assert lines[3:] == [
        "hall.toml: gateway.tls_self_signed: 'yes' is there: allowed is true or false",
        r"hall.toml: gateway.allowed_origins[1]: 'bank' is there: allowed is a text that matches ^https?://[^/\s]+$",
        f"hall.toml: divisions[0].agents[0].id: missing; allowed is a text that matches {pattern}",
        "hall.toml: divisions[0].queues[0].need.loans: 11 is there: allowed is a whole number from 1 to 10",
        f"hall.toml: divisions[0].queues[0].need.b d: 'b d' is there: allowed is a text that matches {pattern}",
        "hall.toml: divisions[0].queues[0].recording: 'maybe' is there: "
        "allowed is one of 'off', 'optional', 'required'",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "hall.toml: divisions: missing; allowed is a list from 1 items up, each a table"),
        ("divisions = []", "hall.toml: divisions: [] is there: allowed is a list from 1 items up, each a table"),
        ("gateway = 1\n" + DIVISION, "hall.toml: gateway: 1 is there: allowed is a table with the keys host, port,"),
        ("[gateway]\nport =\n", "hall.toml: is not TOML: Invalid value (at line 2, column 7)"),
        (
            '[gateway]\ntls_cert = "cert.pem"\n' + DIVISION,
            "hall.toml: gateway.tls_cert: 'cert.pem' is there: tls_cert and tls_key are set both or neither",
        ),
        (
            '[gateway]\ntls_cert = "c"\ntls_key = "k"\ntls_self_signed = true\n' + DIVISION,
            "hall.toml: gateway.tls_self_signed: True is there: allowed is false where tls_cert is set",
        ),
        (
            '[media]\nhost = "::"\nadvertised_addresses = ["10.0.0.1"]\n' + DIVISION,
            "hall.toml: media.host: '::' is there: allowed is an IPv4 address or a name",
        ),
        (
            '[media]\nadvertised_addresses = ["127.0.0.2", "host"]\n' + DIVISION,
            "hall.toml: media.advertised_addresses[1]: 'host' is there: allowed is an IPv4 address",
        ),
        (
            '[ray]\naddress = "auto"\n' + DIVISION,
            "hall.toml: store.url: missing; a Ray cluster needs a store that all its nodes reach",
        ),
        (DIVISION + DIVISION, "hall.toml: divisions[1].division_id: 'main' is there: already used by divisions[0]"),
        (
            DIVISION + '[[divisions.queues]]\nid = "loans"\n[[divisions.queues]]\nid = "loans"\n',
            "hall.toml: divisions[0].queues[1].id: 'loans' is already used by queues[0]",
        ),
        (
            '[store]\nurl = "redis//:secret@host"\n' + DIVISION,
            "hall.toml: store.url: (not shown) is there: begins with none of unix://, redis://",
        ),
    ],
)
def test_each_mistake_says_what_is_allowed(write: Write, text: str, line: str) -> None:
    """Given one mistake, when the file is loaded, then one line names it; a password is never shown."""
    [found] = mistakes(write(text))
    assert found.startswith(line)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Given no file, or one that is no text, when it is loaded, then the error names it."""
    assert mistakes(tmp_path / "hall.toml") == ["hall.toml: cannot be read: No such file or directory"]
    (tmp_path / "hall.toml").write_bytes(b"\xff\xfe")
    assert mistakes(tmp_path / "hall.toml")[0].startswith("hall.toml: is not TOML:")


def test_the_environment_is_over_the_file_and_the_command_line_over_both(write: Write) -> None:
    """Given a key in all three places, when loaded, then the command line wins; lists and numbers are read from text."""
    path = write('[gateway]\nport = 1\nhost = "0.0.0.0"\nissuer = "file"\n' + DIVISION)
    environment = {
        "TELLERHALL_GATEWAY_PORT": "2",
        "TELLERHALL_GATEWAY_HOST": "127.0.0.2",
        "TELLERHALL_GATEWAY_TLS_SELF_SIGNED": "true",
        "TELLERHALL_GATEWAY_MESSAGES_PER_S": "2.5",
        "TELLERHALL_GATEWAY_METRICS_PORT": "9464",
        "TELLERHALL_GATEWAY_ALLOWED_ORIGINS": "https://a.example, https://b.example",
        "TELLERHALL_GATEWAY_ICE_SERVERS": '[{"urls": ["stun:stun.example:3478"]}]',
        "TELLERHALL_MEDIA_ADVERTISED_ADDRESSES": "10.0.0.1",
        "TELLERHALL_MEDIA_HOST": "0.0.0.0",
        "TELLERHALL_OTHER_THING": "not ours",
        "PATH": "/usr/bin",
    }
    own = load(path, environment=environment, options={"gateway.port": 3}).gateway
    assert (own.port, own.host, own.issuer, own.tls_self_signed) == (3, "127.0.0.2", "file", True)
    assert (own.messages_per_s, own.metrics_port) == (2.5, 9464)
    assert own.allowed_origins == ["https://a.example", "https://b.example"]
    assert own.ice_servers == [{"urls": ["stun:stun.example:3478"]}]
    assert load(path, environment=environment).media.advertised_addresses == ["10.0.0.1"]


def test_mistakes_outside_of_the_file_name_their_source(write: Write) -> None:
    """Given wrong variables and a wrong option, when loaded, then each line begins with where the value came from."""
    lines = mistakes(
        write(DIVISION),
        environment={
            "TELLERHALL_GATEWAY_PORT": "many",
            "TELLERHALL_GATEWAY_PROT": "1",
            "TELLERHALL_MEDIA_ADVERTISED_ADDRESSES": "host",
        },
        options={"gateway.host": ""},
    )
    assert lines[0].startswith("TELLERHALL_GATEWAY_PROT: unknown variable; known are TELLERHALL_GATEWAY_HOST,")
    assert lines[1:] == [
        "TELLERHALL_GATEWAY_PORT: gateway.port: 'many' is there: allowed is a whole number from 0 to 65535",
        "command line: gateway.host: '' is there: allowed is a text from 1 to 253 characters",
    ]


def test_equal_plans_have_equal_digests(write: Write) -> None:
    """SAFETY.md 20: given a plan written in two ways and a changed one, then the digest tells only the change."""
    first = load(write(DIVISION + '[[divisions.queues]]\nid = "loans"\nneed = { a = 1, b = 2 }\n')).divisions[0]
    same = load(
        write(DIVISION + 'queues = [{ need = { b = 2, a = 1 }, id = "loans", target_ms = 20000 }]\n')
    ).divisions[0]
    other = load(write(DIVISION + 'queues = [{ need = { b = 2, a = 2 }, id = "loans" }]\n')).divisions[0]
    assert plan_digest(first) == plan_digest(same)
    assert plan_digest(first) != plan_digest(other)
    assert re.fullmatch("[0-9a-f]{64}", plan_digest(first))
