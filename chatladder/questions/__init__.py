"""From scored turns to questions: what the judges agree on, and the talk that each question is shown with."""
