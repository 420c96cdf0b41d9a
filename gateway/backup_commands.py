"""`tellerhall backup` and `tellerhall restore`: what they take, what they print, their exit status.

Not here: the work (`actors/backup`, `actors/restore`).
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from actors import wiring
from actors.backup import BackupFailed, Source, take_backup
from actors.backup_manifest import BackupDamaged, Manifest
from actors.configuration import Configuration
from actors.logs import configure_logging
from actors.restore import RestoreRefused, Target, restore_backup
from actors.store import EmbeddedStore, StoreFailed, StoreFolderTaken
from actors.store_client import StoreUnavailable

Load = Callable[[argparse.Namespace], Configuration]
AddCommon = Callable[[argparse.ArgumentParser], None]


def add_commands(commands: Any, add_common: AddCommon, load: Load) -> None:
    """Add both to the console command."""
    backup = commands.add_parser(
        "backup", help="save a hall that runs: journals, histories, people, finished recordings"
    )
    add_common(backup)
    backup.add_argument("target", type=Path, help="a new folder, or a new file whose name ends with .tar")
    backup.add_argument("--redis-url", default=None, help="the hall's store, where it is not the embedded one")
    backup.add_argument("--without-people", action="store_true", help="leave personal records out")
    backup.set_defaults(run=lambda options: _backup(options, load(options)))
    restore = commands.add_parser("restore", help="put a backup into a hall that does not run")
    add_common(restore)
    restore.add_argument("backup", type=Path, help="the folder or file that `backup` made")
    restore.add_argument("--redis-url", default=None, help="an existing store instead of the embedded one")
    restore.add_argument("--force", action="store_true", help="set aside what the hall holds")
    restore.set_defaults(run=lambda options: _restore(options, load(options)))


def _backup(options: argparse.Namespace, configuration: Configuration) -> int:
    data = configuration.data_folder
    source = Source(
        [plan.division_id for plan in configuration.divisions],
        configuration.store.url or EmbeddedStore(data / "store").url,
        data / "archive",
        configuration.recordings_folder,
        not options.without_people,
        data / "audit",
    )
    return _run("backup", take_backup(source, options.target.absolute()), options.target)


def _restore(options: argparse.Namespace, configuration: Configuration) -> int:
    target = Target(configuration.data_folder, configuration.recordings_folder, configuration.store.url)
    return _run("restore", restore_backup(options.backup.absolute(), target, is_forced=options.force), options.backup)


def _run(name: str, work: Coroutine[Any, Any, Manifest], path: Path) -> int:
    os.umask(wiring.PRIVATE_UMASK)
    configure_logging()
    try:
        manifest = asyncio.run(work)
    except BackupDamaged as error:
        return _failed(name, f"{path} is damaged: {error}")
    except StoreUnavailable as error:
        return _failed(name, f"the store does not answer ({error.reason}); a backup is taken of a hall that runs")
    except (BackupFailed, RestoreRefused, StoreFailed, StoreFolderTaken, OSError) as error:
        return _failed(name, str(error))
    for line in _summary(manifest):
        sys.stdout.write(line + "\n")
    if name == "restore" and manifest.webhooks_count:
        sys.stdout.write('  webhooks are switched off until you say so: PATCH /v1/webhooks/{id} {"is_enabled": true}\n')
    return 0


def _failed(name: str, text: str) -> int:
    sys.stderr.write(f"tellerhall: {name}: {text}\n")
    return 1


def _summary(manifest: Manifest) -> list[str]:
    size = sum(one.bytes for one in manifest.files)
    as_of = datetime.fromtimestamp(manifest.cut_at_ms / 1_000, UTC).isoformat(sep=" ", timespec="milliseconds")
    lines = [f"{len(manifest.files)} files, {size} bytes, as of {as_of}"]
    for division_id, one in manifest.divisions.items():
        lines.append(f"  division {division_id}: {one.calls_count} calls, journal up to batch {one.last_batch}")
    counts = f"{manifest.people_count} personal records, {manifest.recordings_count} recordings"
    lines.append(f"  {counts}, {manifest.webhooks_count} webhooks")
    lines += [f"  not inside, since it is not finished: recordings/{one}" for one in manifest.recordings_open]
    return lines + [f"  not inside: {one}" for one in manifest.missing]
