"""The device, dtype and attention of a model: chosen for this machine, or set by environment variables.

``CHATLADDER_DTYPE`` (float32, bfloat16 or float16) is for answers that must be exact, or equal on different machines.
``CHATLADDER_ATTENTION`` (sdpa, eager or flash_attention_2) is for an architecture or a GPU that needs another
implementation than transformers' choice, which is sdpa if available. Neither affects embedded models, which are
float32. accelerate's ``ACCELERATE_USE_CPU=true`` disables GPUs.
"""

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chatladder.distributed import Need
from chatladder.io.console import DataError

if TYPE_CHECKING:
    import torch

#: Libraries whose versions differ in the last digits of their results.
LIBRARIES = ("peft", "tokenizers", "torch", "transformers")
#: Variables that torch's libraries read once, when torch is first imported; values that are already set stay.
MATH = {
    # GNU OpenMP: the number of spins of a waiting thread before it sleeps; the default, 300,000, makes a run that
    # shares its cores with another up to twenty times slower.
    "GOMP_SPINCOUNT": "2000",
    # By default Intel's matrix products depend on the processor's cache sizes, and may add in another order in each
    # process; with these they add in one order whatever the number of threads (oneMKL Developer Guide, "Reproducibility
    # Conditions").
    "MKL_CBWR": "AUTO,STRICT",
    "MKL_DYNAMIC": "FALSE",
    # Without it, deterministic training on an NVIDIA GPU stops at the first matrix product.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # The CPU computes what Apple's GPUs do not support yet; without this it is an error.
    "PYTORCH_ENABLE_MPS_FALLBACK": "1",
}
DTYPE, ATTENTION, USE_CPU = "CHATLADDER_DTYPE", "CHATLADDER_ATTENTION", "ACCELERATE_USE_CPU"
#: Set in processes that were launched together, each with its own GPU.
LAUNCHED = "LOCAL_RANK"
#: Capabilities of a CPU with native bfloat16 products, by torch's names: AVX512 and AMX of x86, and ARM's.
NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
#: Bytes of a number, by dtype.
DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
#: Bytes of a quantized weight, by the setting that requests it.
QUANTIZED = {"load_in_4bit": 0.5, "load_in_8bit": 1.0}
#: A model of at most this many parameters computes with one thread on a CPU: more gain little, and its results are then
#: identical whatever the number of processors. Several such models are trained and scored in parallel.
SMALL = 10_000_000
#: The factor for a quantized model's norms, embeddings and scales, which come on top of its weights.
BESIDE = 1.125
#: The share of a GPU's free memory that weights may take; the rest is for activations.
SHARE = 0.8


def prepare_torch() -> None:
    """Make torch reproducible, and fast on shared cores; call this before torch is imported."""
    for name, value in MATH.items():
        os.environ.setdefault(name, value)


def need_of_model(params: int | None, *, embedded: bool) -> Need:
    """Return the resources that a call with a model needs.

    Args:
        params: The model's number of parameters; None if unknown.
        embedded: True for an embedded model, which runs on a CPU on every machine.
    """
    prepare_torch()
    small = params is not None and params <= SMALL
    if embedded and small:
        return Need(threads=1, gpu=False, small=True)  # torch is not imported: other processes load it
    import torch

    threads = 1 if small else torch.get_num_threads()
    return Need(threads, gpu=not embedded, small=small and device() == "cpu")


def device() -> str:
    """Return the device of models that are not embedded: ``cuda``, ``mps`` (Apple's GPU) or ``cpu``."""
    import torch

    if os.environ.get(USE_CPU, "").lower() in ("1", "true", "t", "yes", "y", "on"):  # as accelerate reads it
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def free_memory(device: str) -> tuple[int, ...]:
    """Return the free bytes of each GPU; none on a CPU.

    Apple's GPU shares the machine's memory: its figure is the free part, but no more than Metal recommends.
    """
    import torch

    if device == "mps":
        import psutil

        recommended = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return (max(0, min(psutil.virtual_memory().available, recommended)),)
    return tuple(
        torch.cuda.mem_get_info(card)[0] for card in range(torch.cuda.device_count() if device == "cuda" else 0)
    )


def placement(params: int, rung: Mapping[str, Any], dtype: "torch.dtype | None" = None) -> dict[str, Any]:
    """Return the arguments of ``from_pretrained`` that load a model on this machine.

    Without a ``device_map`` among them, the model belongs on the current device, which is the process's own if several
    were launched together.

    Args:
        params: The model's number of parameters.
        rung: The model's description; ``load_in_4bit`` or ``load_in_8bit`` quantizes it.
        dtype: The dtype of the weights; by default ``best_dtype``.

    Raises:
        DataError: If the GPUs together cannot hold the model, or this machine cannot quantize it.
    """
    where = device()
    dtype = dtype or best_dtype(where)
    chosen: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention(where)}
    small = next((name for name in QUANTIZED if rung.get(name)), None)
    if small is not None:
        check_quantization(small)
        chosen["quantization_config"] = _quantization(small, dtype)
    if where != "cpu" and LAUNCHED not in os.environ:
        size = params * (QUANTIZED[small] * BESIDE if small else dtype.itemsize)
        mapped = device_map(int(size), free_memory(where))
        chosen |= mapped if where == "cuda" else {}
    return chosen


def best_dtype(device: str) -> "torch.dtype":
    """Return the environment's dtype, or else bfloat16 if the device supports it, float16 on a GPU, float32 on a CPU.

    Args:
        device: A device as ``device`` returns it.

    Raises:
        DataError: If the environment names an unknown dtype.
    """
    import torch

    wanted = os.environ.get(DTYPE, "")
    if wanted:
        if wanted not in DTYPES:
            raise DataError(f"{DTYPE}: expected one of {', '.join(DTYPES)}, got {wanted!r}.")
        found: torch.dtype = getattr(torch, wanted)
        return found
    if device == "cpu":
        return torch.bfloat16 if _multiplies_bfloat16() else torch.float32
    if device == "mps":
        able = torch.backends.mps.is_macos_or_newer(14, 0)
    else:
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if able else torch.float16


def _multiplies_bfloat16() -> bool:
    """Return True if the CPU multiplies in bfloat16, and torch has the library (oneDNN) for it."""
    import torch

    able = torch.cpu.get_capabilities()
    return any(able.get(name) for name in NATIVE_BFLOAT16) and torch.backends.mkldnn.is_available()


def attention(device: str) -> str | None:
    """Return the attention implementation that the environment requests; None leaves the choice to transformers.

    Flash attention is never a default: it does not accept our mask, so that prompts would be computed three times, and
    its gradients differ from run to run.

    Raises:
        DataError: If the implementation is unknown, or cannot be used on this machine.
    """
    wanted = os.environ.get(ATTENTION, "")
    if wanted and wanted not in ATTENTIONS:
        raise DataError(f"{ATTENTION}: expected one of {', '.join(ATTENTIONS)}, got {wanted!r}.")
    if wanted == "flash_attention_2":
        missing = _no_gpu(device) or ("no flash_attn" if not _installed("flash_attn") else "")
        if missing:
            raise DataError(f"{ATTENTION}: expected a GPU and the package flash_attn for {wanted}, got {missing}.")
    return wanted or None


def check_quantization(setting: str) -> None:
    """Refuse a quantization that this machine does not support.

    Args:
        setting: The quantization, one of ``QUANTIZED``.

    Raises:
        DataError: If there is no GPU, or bitsandbytes is not installed.
    """
    missing = [_no_gpu(device())] if device() != "cuda" else []
    if not _installed("bitsandbytes"):
        missing.append("no bitsandbytes (pip install bitsandbytes)")
    if missing:
        raise DataError(
            f"{setting}: expected a GPU and bitsandbytes, which quantizes on it, got {' and '.join(missing)}. "
            f"Without {setting} the model is loaded as it is."
        )


def _no_gpu(device: str) -> str:
    """Return words for a device that is not a CUDA GPU, for errors; "" if it is one."""
    return {"cpu": "no GPU", "mps": "Apple's"}.get(device, "")


def _quantization(setting: str, dtype: "torch.dtype") -> Any:
    from transformers import BitsAndBytesConfig

    if setting == "load_in_8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    # NF4: designed for normally distributed weights (arXiv 2305.14314, section 3).
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def device_map(size: int, free: Sequence[int]) -> dict[str, Any]:
    """Return the ``device_map`` of a model: the first GPU that can hold it, or several together.

    Args:
        size: Bytes of the weights.
        free: Bytes free on each GPU.

    Raises:
        DataError: If all GPUs together are too small.
    """
    room = [int(SHARE * each) for each in free]
    for number, each in enumerate(room):
        if size <= each:
            return {"device_map": {"": number}}
    if size > sum(room):
        raise DataError(
            f"expected {size / 1e9:.1f} GB of GPU memory for the weights, got {sum(room) / 1e9:.1f} GB on {len(free)} "
            "that may be used for them. Choose a smaller model, load_in_4bit, or ACCELERATE_USE_CPU=true for the CPU."
        )
    return {"device_map": "auto", "max_memory": dict(enumerate(room))}


def check_map(model: Any) -> None:
    """Refuse a model that is not entirely on GPUs, but partly in main memory or on disk.

    Raises:
        DataError: If a part is, with its name.
    """
    parts = getattr(model, "hf_device_map", None) or {}
    outside = sorted(str(name) for name, place in parts.items() if str(place) in ("cpu", "disk"))
    if outside:
        raise DataError(
            f"expected the GPUs to hold the whole model, got no room for {outside[0]} and {len(outside) - 1} more "
            "parts. Choose a smaller model, load_in_4bit, or ACCELERATE_USE_CPU=true for the CPU."
        )
