"""`python -m connwatch.cli` is the command `connwatch`."""

from connwatch.cli import main

main()
