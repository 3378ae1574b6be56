"""`python -m connwatch.cli` is the command `connwatch`."""

from connwatch.command import main

main()
