"""The configuration of the tests' hall: many small desks, each a queue with its one agent, so that no test meets another's.

A desk is (queue, agent, customer), numbered. What a test needs of its queue is said by the kind of the desk.
"""

from pathlib import Path

KINDS: dict[str, str] = {
    # Nothing ends by itself while a slow machine looks at it.
    "calm": 'reservation_timeout_ms = 120_000\nwrap_up = "until_done"\nconnecting_timeout_ms = 60_000\nmisses_max = 100',
    # What is not answered is over soon.
    "brief": 'reservation_timeout_ms = 3_000\nno_answer_delay_ms = 1_000\nwrap_up = "none"\nmisses_max = 1',
}
DESKS_EACH = 30


def write_configuration(path: Path) -> Path:
    """Write the hall's file; agents `calm-1`, `brief-2` ... serve the queues of the same name."""
    lines = ["[[divisions]]", 'division_id = "main"', "reconnect_grace_ms = 120_000", ""]
    for kind, settings in KINDS.items():
        for number in range(1, DESKS_EACH + 1):
            name = f"{kind}-{number}"
            lines += ["[[divisions.queues]]", f'id = "{name}"', f'need = {{ "{name}" = 1 }}']
            lines += [f'name = {{ en = "Queue {name}" }}', 'recording = "required"', settings, ""]
            lines += ["[[divisions.agents]]", f'id = "{name}"', f'name = "Agent {name}"']
            lines += [f'skills = {{ "{name}" = 5 }}', ""]
    path.write_text("\n".join(lines))
    return path
