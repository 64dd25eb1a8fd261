"""`python -m flows.cli`: the command line, where the console script is not installed."""

from flows.cli.command_line import main

if __name__ == "__main__":
    main()
