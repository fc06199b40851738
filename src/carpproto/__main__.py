"""``python -m carpproto``: the bundled demo commands."""

from carpproto.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
