"""`python -m netadapt` is `netadapt`."""

from netadapt.cli import main

if __name__ == "__main__":
    main()
