"""The pure routing engine: commands in, events and effects out.

Read in this order: `plan` (what is configured), `commands` (wishes), `events` (facts), `effects` (requests to
the shell), `lifecycle` (the only state tables), `model` (what the engine remembers), `engine` (how it decides).
Nothing here knows the clock, chance, the network or a process: time and ids come in as arguments.
"""

from dispatch.compiled import chosen_path

_compiled = chosen_path()
__path__[:0] = _compiled
IS_COMPILED = bool(_compiled)
"""Whether this process runs the engine that mypyc compiled from these sources (`dispatch/compiled.py`)."""
