"""chatladder: a raw group chat in, a fine-tuned model and its scores out.

One module per stage of ``dvc.yaml``; the packages beside them hold what the stages share.
"""
