"""The command line: one file a command, in `options` what commands share, in `main` the program that has them all.

A command reads its options, calls the library and prints the result. It imports the library when it runs: torch takes
seconds to import, and the answer to a misspelt option need not wait for it.
"""

from elsewhere.cli.main import app

__all__ = ["app"]
