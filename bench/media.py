"""`make bench-media`: starts `media_load.py`, which measures and tells how.

Run by its path this file would be what `import media` finds, so the project's own folder comes first, and the work is done
in a module of another name.
"""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
runpy.run_module("bench.media_load", run_name="__main__")
