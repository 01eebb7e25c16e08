"""Items that training never saw: the cases, the ways to score them, and what each finds."""
