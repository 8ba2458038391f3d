"""From scored turns to questions: the choice by the judges' scores, and the window shown with each question."""
