"""What is probably wrong with rules that load: `lint.CHECKS` is the list of what is looked for."""
