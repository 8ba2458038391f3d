"""A tuned model behind HTTP: bots ask whether a question needs its history, a page lets people try it."""
