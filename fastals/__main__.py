"""``python -m fastals``: the command line, where the command itself is not on the path."""

from fastals.cli import main

if __name__ == "__main__":
    main()
