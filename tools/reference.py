"""The reference implementation of each model family.

make_golden.py and the other golden tools build on this module. It prints and writes nothing.
reference_media.py reads media, reference_inputs.py makes a processor's inputs of them;
reference_vl.py runs Qwen2-VL and its successors, the others what their names say.
"""

from __future__ import annotations

import importlib.metadata
import pathlib

import av
from reference_chatglm import ChatGlmReference
from reference_chatglm2 import ChatGlm2Reference
from reference_inputs import Options, read_config
from reference_media import InputError, open_media
from reference_qwen import QwenReference
from reference_text import TextReference
from reference_vl import Reference

__all__ = ["InputError", "Options", "Reference", "load", "open_media", "versions"]

PACKAGES = "torch torchvision transformers tokenizers qwen-vl-utils av pillow numpy".split()


def load(model_dir: pathlib.Path, dtype: str = "f32", positions: str = "paper") -> Reference:
    """The reference for a model directory, by its family."""
    text = {"qwen": QwenReference, "qwen2": TextReference}
    config = read_config(model_dir, "config.json")
    family = config.get("model_type")
    if family == "chatglm" and "multi_query_group_num" in config:
        return ChatGlm2Reference(model_dir, dtype)
    if family == "chatglm":
        return ChatGlmReference(model_dir, dtype)
    if family in text:
        return text[family](model_dir, dtype)
    return Reference(model_dir, dtype, positions)


def versions() -> dict[str, str]:
    """The packages whose version a golden depends on."""
    return {p: importlib.metadata.version(p) for p in PACKAGES} | {
        "ffmpeg (PyAV)": ".".join(map(str, av.library_versions["libavcodec"]))
    }
