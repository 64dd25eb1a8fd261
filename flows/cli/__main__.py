"""Run the command line as `python -m flows.cli`, without the installed console script."""

from flows.cli import main

if __name__ == "__main__":
    main()
