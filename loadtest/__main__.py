"""`python -m loadtest`, which `make loadtest` runs."""

from loadtest.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
