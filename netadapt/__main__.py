"""`python -m netadapt` is `netadapt`."""

from netadapt.program import main

if __name__ == "__main__":
    main()
