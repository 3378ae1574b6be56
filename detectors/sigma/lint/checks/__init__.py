"""One file for each thing that is looked for; each is a function from `Subjects` to findings."""
