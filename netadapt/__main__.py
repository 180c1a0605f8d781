"""`python -m netadapt` is `netadapt`."""

import os
import sys
from pathlib import Path

# Python looks into the current folder first, where a `search.py` of somebody's own may be.
if __name__ == "__main__":
    own = Path(__file__).resolve().parents[1]
    if not sys.flags.safe_path and Path(sys.path[0] or os.curdir).resolve() != own:
        del sys.path[0]

from netadapt.program import main

if __name__ == "__main__":
    main()
