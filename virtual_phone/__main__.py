"""``python -m netadapt.virtual_phone``: a virtual phone in the foreground."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from netadapt.android_runner.errors import RunnerError
from netadapt.virtual_phone.phone import VirtualPhone
from netadapt.virtual_phone.serving import describe, serve


def main() -> None:
    """Parse arguments and serve; the first line on standard output is the address."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phone", default="pixel_1", help="a bundled phone or a TOML file")
    parser.add_argument("--serial", help="its serial number, instead of the description's")
    parser.add_argument("--root", type=Path, required=True, help="folder for the phone's files")
    parser.add_argument("--port", type=int, default=0, help="0 chooses one")
    parser.add_argument("--isolation", choices=("namespaces", "paths"), help="see sandbox.py")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO if arguments.verbose else logging.WARNING)

    def on_ready(phone: VirtualPhone) -> None:
        sys.stdout.write(f"{phone.address}\n")
        sys.stdout.flush()

    try:
        described = describe(arguments.phone, arguments.serial)
        serve(described, arguments.root, arguments.port, on_ready, arguments.isolation)
    except RunnerError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
