"""chatladder: a raw group chat in, a fine-tuned model and its scores out.

The folders hold what the stages of ``dvc.yaml`` depend on; ``cli`` is the command that people run.
"""
