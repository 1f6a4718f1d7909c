"""The command line, `python -m flows`: the flows as commands for a terminal or a script."""
