"""The ladder: prompts, the embedded family, loading, scoring of options, and LoRA."""

import os

# GNU OpenMP reads this once, when torch is first imported. A thread that waits for the others spins this often before
# it sleeps; the default, 300,000, makes a run that shares its cores with another up to twenty times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
# Intel's matrix products otherwise ask the processor for its cache sizes, and may add in another order in each process;
# so asked, they add in one order whatever the number of threads (oneMKL Developer Guide, "Reproducibility Conditions").
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
os.environ.setdefault("MKL_DYNAMIC", "FALSE")
# Without it, deterministic training on an NVIDIA GPU stops at the first matrix product.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
