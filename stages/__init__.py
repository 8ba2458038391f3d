"""One module for each stage of ``dvc.yaml``: options in, a call of the library ``chatladder``, one line out."""
