"""The console command `tellerhall`: up, status, move, drain, token, keys, audit, backup, restore; others by entry points.

A package may add subcommands: an entry point in `tellerhall.commands` names a function that takes argparse's subparsers.
"""

import argparse
import contextlib
import json
import os
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import uvloop

from actors import wiring
from actors.configuration import Configuration, ConfigurationError, load, plan_digest
from actors.logs import configure_logging
from actors.plan_origin import is_over_rest, sha_of
from gateway import audit_commands, backup_commands
from gateway.development_issuer import DevelopmentIssuer, rotate
from gateway.identity import ROLES
from gateway.status_text import status_text
from gateway.up import Up, run

DEMO = Path(__file__).parent / "demo.toml"
COMMANDS_GROUP = "tellerhall.commands"
STATUS_S = 10.0
CHANGE_S = 90.0
"""Moving a division takes a minute at most (`actors/moving`)."""
NOT_HEALTHY = 3
TOKEN_VARIABLE = "TELLERHALL_TOKEN"
"""An operator's token of the bank's own issuer, where the development issuer is not used."""
DEMO_TOKEN_S = 12 * 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status.

    0: done; 1: it failed; 2: the arguments or the configuration are wrong; 3: `status` says that the hall is not healthy.
    """
    parser = argparse.ArgumentParser(
        prog="tellerhall", description="Routing and dispatch core for remote video banking."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_up(commands)
    _add_status(commands)
    _add_move(commands)
    _add_drain(commands)
    _add_token(commands)
    _add_keys(commands)
    backup_commands.add_commands(commands, _add_common, _load)
    audit_commands.add_commands(commands, _add_common, _load, _answer_of)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    for entry_point in metadata.entry_points(group=COMMANDS_GROUP):
        entry_point.load()(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    return status


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=None, help="configuration file (default: the demo hall)")
    parser.add_argument("--data", default=None, help="data folder (hall.data_folder)")


def _add_up(commands: Any) -> None:
    parser = commands.add_parser("up", help="start a hall and keep it running until Ctrl-C")
    _add_common(parser)
    parser.add_argument("--host", default=None, help="address that the gateway listens on (gateway.host)")
    parser.add_argument("--port", type=int, default=None, help="its port, 0 for any (gateway.port)")
    parser.add_argument("--redis-url", default=None, help="an existing Redis or Valkey instead of the embedded one")
    parser.add_argument(
        "--address", default=None, help="an existing Ray cluster instead of a private one; needs --redis-url"
    )
    parser.add_argument("--tls-cert", default=None, help="certificate file, PEM; with --tls-key")
    parser.add_argument("--tls-key", default=None, help="its key file, PEM")
    parser.add_argument(
        "--tls-self-signed", action="store_true", default=None, help="HTTPS with a certificate made here"
    )
    parser.add_argument(
        "--media-address",
        action="append",
        default=None,
        help="IPv4 address where browsers reach the media workers; repeatable",
    )
    parser.add_argument(
        "--apply", action="store_true", help="take the file's plans, also where others came over REST since"
    )
    parser.set_defaults(run=_up)


def _add_status(commands: Any) -> None:
    parser = commands.add_parser(
        "status",
        help="say how the hall of a data folder is",
        description="Exit status 0: healthy, 3: not, 1: no answer.",
    )
    _add_common(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=_status)


def _add_move(commands: Any) -> None:
    parser = commands.add_parser("move", help="let another shard host a division, while its calls go on")
    _add_common(parser)
    parser.add_argument("division", help="which")
    parser.add_argument("slot", help="where to: shard-0, shard-1, ... as `status` names them")
    parser.set_defaults(run=_move)


def _add_drain(commands: Any) -> None:
    parser = commands.add_parser(
        "drain", help="send a gateway's clients to the others within a minute and start it anew"
    )
    _add_common(parser)
    parser.add_argument("slot", help="which: gateway-1, gateway-2, ... as `status` names them")
    parser.set_defaults(run=_drain)


def _add_token(commands: Any) -> None:
    parser = commands.add_parser("token", help="issue a development token")
    _add_common(parser)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("sub", help="whose: an agent's or customer's id")
    parser.add_argument("--division", default="", help="division (default: the first)")
    parser.add_argument("--hours", type=float, default=8.0, help="life of the token")
    parser.set_defaults(run=_token)


def _add_keys(commands: Any) -> None:
    parser = commands.add_parser("keys", help="let a new key sign development tokens from now on")
    _add_common(parser)
    parser.add_argument("action", choices=["rotate"])
    parser.add_argument(
        "--leaked",
        action="store_true",
        help="refuse the old key's tokens at once, instead of accepting them until they end",
    )
    parser.set_defaults(run=_rotate)


def _load(options: argparse.Namespace) -> Configuration:
    keys = {
        "data": "hall.data_folder",
        "host": "gateway.host",
        "port": "gateway.port",
        "tls_cert": "gateway.tls_cert",
        "tls_key": "gateway.tls_key",
        "tls_self_signed": "gateway.tls_self_signed",
        "media_address": "media.advertised_addresses",
        "redis_url": "store.url",
        "address": "ray.address",
    }
    given = {key: value for name, key in keys.items() if (value := getattr(options, name, None)) is not None}
    return load(options.config or DEMO, environment=os.environ, options=given)


def _issuer(configuration: Configuration) -> DevelopmentIssuer:
    gateway = configuration.gateway
    return DevelopmentIssuer.open(configuration.data_folder / "keys", gateway.issuer, gateway.audience)


def _up(options: argparse.Namespace) -> int:
    configuration = _load(options)
    os.umask(wiring.PRIVATE_UMASK)
    try:
        configure_logging(configuration.data_folder / "logs" / "up.log")
    except OSError as error:
        print(f"tellerhall: {error.filename} cannot be used: {error.strerror}", file=sys.stderr)
        return 1
    wiring.prepare()

    def on_ready(up: Up, took_s: float) -> None:
        for line in _greeting(up, took_s):
            _say(line)

    return uvloop.run(run(configuration, _say, on_ready, is_plan_insisted=options.apply))


def _say(line: str) -> None:
    # A terminal that is gone is no reason to end a hall, and must not keep one from its orderly end.
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _greeting(up: Up, took_s: float) -> list[str]:
    url = up.url
    lines = [f"Tellerhall is ready after {took_s:.1f} s", f"  start page      {url}/", f"  API             {url}/v1"]
    if up.configuration.gateway.jwks_file or up.configuration.gateway.jwks_url:
        return [*lines, "Ctrl-C stops it."]
    issuer = _issuer(up.configuration)
    plan = up.configuration.divisions[0]

    def token(role: str, sub: str) -> str:
        return issuer.issue(role, sub, DEMO_TOKEN_S, plan.division_id)

    lines.append(f"  customer page   {url}/customer#token={token('customer', 'c-1')}")
    if plan.agents:
        lines.append(f"  agent desktop   {url}/agent#token={token('agent', plan.agents[0].id)}")
    lines.append(f"  operator token  {token('operator', 'o-1')}")
    return [*lines, "More tokens: tellerhall token <role> <id>. Ctrl-C stops it."]


class _NoAnswer(Exception):
    """The hall of the data folder does not run, does not answer, or says no: one line for the operator."""


def _ask(configuration: Configuration, method: str, path: str, body: object = None) -> tuple[str, Any]:
    """Return the address of the hall that runs with this data folder, and its answer to an operator. Raises _NoAnswer."""
    try:
        url = str(json.loads((configuration.data_folder / "run" / "hall.json").read_text())["url"])
    except (OSError, ValueError):
        raise _NoAnswer(f"no hall runs with the data folder {configuration.data_folder}") from None
    token = os.environ.get(TOKEN_VARIABLE) or _issuer(configuration).issue(
        "operator", "console", 60, configuration.divisions[0].division_id
    )
    request = urllib.request.Request(f"{url}{path}", method=method, headers={"Authorization": f"Bearer {token}"})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        # The certificate of a development hall is its own; the token is worth nothing anywhere else.
        context = ssl._create_unverified_context() if url.startswith("https") else None
        limit_s = STATUS_S if method == "GET" else CHANGE_S
        with urllib.request.urlopen(request, timeout=limit_s, context=context) as response:
            return url, json.load(response)
    except urllib.error.HTTPError as error:
        with contextlib.suppress(ValueError, AttributeError, KeyError, OSError):
            raise _NoAnswer(f"the hall refuses: {json.load(error)['reason']}") from None
        raise _NoAnswer(f"the gateway at {url} answers {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        raise _NoAnswer(f"the gateway at {url} does not answer: {error}") from error


def _answer_of(configuration: Configuration, path: str) -> Any:
    """The hall's answer to an operator; None where no hall runs with the data folder, or it does not answer."""
    with contextlib.suppress(_NoAnswer):
        return _ask(configuration, "GET", path)[1]
    return None


def _status(options: argparse.Namespace) -> int:
    configuration = _load(options)
    try:
        url, status = _ask(configuration, "GET", "/v1/status")
    except _NoAnswer as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(status, indent=2) if options.json else status_text(url, status))
    if options.config is not None and not options.json:
        for line in _other_plans(configuration, status):
            print(line)
    return 0 if status["is_healthy"] else NOT_HEALTHY


def _other_plans(configuration: Configuration, status: dict[str, Any]) -> list[str]:
    """Name the divisions that decide by another plan than the file's: the journal is the truth (SAFETY.md 20)."""
    plans = {plan.division_id: plan_digest(plan) for plan in configuration.divisions}
    return [
        f"configuration: division {division_id} decides by another plan than this file, {_what_next(one['plan_digest'])}"
        for division_id, one in status["divisions"].items()
        if division_id in plans and "plan_digest" in one and sha_of(one["plan_digest"]) != plans[division_id]
    ]


def _what_next(plan_digest: str) -> str:
    if is_over_rest(plan_digest):
        return "which came over REST: a start takes the file's with --apply alone"
    return "which is offered at the next start"


def _move(options: argparse.Namespace) -> int:
    path = f"/v1/divisions/{urllib.parse.quote(options.division, safe='')}/slot"
    try:
        _ask(_load(options), "PUT", path, {"slot_id": options.slot})
    except _NoAnswer as error:
        print(f"tellerhall: division {options.division} was not moved: {error}", file=sys.stderr)
        return 1
    print(f"division {options.division} is served by {options.slot}")
    return 0


def _drain(options: argparse.Namespace) -> int:
    try:
        _, said = _ask(_load(options), "POST", f"/v1/gateways/{urllib.parse.quote(options.slot, safe='')}/drain")
    except _NoAnswer as error:
        print(f"tellerhall: {options.slot} does not drain: {error}", file=sys.stderr)
        return 1
    print(f"{options.slot} sends its {said['connections_count']} clients to the others")
    return 0


def _token(options: argparse.Namespace) -> int:
    configuration = _load(options)
    division_id = options.division or configuration.divisions[0].division_id
    agents = {agent.id for plan in configuration.divisions if plan.division_id == division_id for agent in plan.agents}
    if options.role == "agent" and options.sub not in agents:
        print(f"tellerhall: division {division_id} has no agent {options.sub!r} in this configuration", file=sys.stderr)
    try:
        print(_issuer(configuration).issue(options.role, options.sub, int(options.hours * 3600), division_id))
    except (ValueError, OSError) as error:
        print(f"tellerhall: {error}", file=sys.stderr)
        return 2
    return 0


def _rotate(options: argparse.Namespace) -> int:
    try:
        old, new = rotate(_load(options).data_folder / "keys", options.leaked)
    except (ValueError, OSError) as error:
        print(f"tellerhall: {error}", file=sys.stderr)
        return 1
    end = "are refused from now on" if options.leaked else "count until they end"
    print(f"key {new} signs from now on; tokens of {old} {end}")
    return 0


def _version(_options: argparse.Namespace) -> int:
    print(metadata.version("tellerhall"))
    return 0
