"""The ladder: prompts, the embedded family, loading, scoring of options, and LoRA."""

import os

# GNU OpenMP reads this once, when torch is first imported. A thread that waits for the others spins this often before
# it sleeps; the default, 300,000, makes a run that shares its cores with another up to twenty times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
# Without it, deterministic training on an NVIDIA GPU stops at the first matrix product.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
