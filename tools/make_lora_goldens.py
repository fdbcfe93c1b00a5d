"""Write tests/goldens/lora: answers of models with LoRA adapters that PEFT merged, by transformers.

An adapter's weights are those of tools/random_weights.py: its spec (tests/goldens/lora/NAME.json) is
what the tests make it from again. The golden beside it is one of tools/make_golden.py, of the merged
model.

usage: make_lora_goldens.py
needs: tools/requirements-golden.txt, peft
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import make_random_model
import random_weights
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, Qwen2VLForConditionalGeneration

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
OUT = REPOSITORY / "tests" / "goldens" / "lora"
TOWER = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "merger.mlp.0", "merger.mlp.2"]
DECODER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# name: (model, class, rank, dtype, gain, scale beside the adapter's, adapter_config.json, prompt)
CASES = {
    "demo": (
        "models/demo", Qwen2VLForConditionalGeneration, 2, "F32", 24, 1.0,
        dict(lora_alpha=3, alpha_pattern={"v_proj": 7}, target_modules=TOWER + DECODER),
        ["models/demo/sample.mp4", "Describe the video."],
    ),
    "text": (
        "qwen2_head64_bf16", AutoModelForCausalLM, 5, "BF16", 40, 0.5,
        dict(lora_alpha=4, use_rslora=True, target_modules=["q_proj", "down_proj"]),
        ["The red circle moves."],
    ),
}  # fmt: skip


def tensors(model, targets: list[str], rank: int, gain: int) -> list[dict]:
    """lora_A and lora_B of every linear module whose name ends in a target, as PEFT names them."""
    out = []
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        if not any(name == t or name.endswith("." + t) for t in targets):
            continue
        a, b = [rank, module.in_features], [module.out_features, rank]
        for part, shape in (("lora_A", a), ("lora_B", b)):
            full = f"base_model.model.{name}.{part}.weight"
            out.append(dict(name=full, shape=shape, gain=gain, bias=0))
    return out


def spec_of(name: str, model) -> dict:
    _, _, rank, dtype, gain, _, config, _ = CASES[name]
    config = dict(peft_type="LORA", r=rank, bias="none", **config)
    weights = dict(file="adapter_model.safetensors")
    weights["tensors"] = tensors(model, config["target_modules"], rank, gain)
    spec = dict(name=name, seed=len(name), dtype=dtype)
    data = random_weights.weight_file(spec, weights["tensors"])
    weights |= dict(bytes=len(data), fnv1a64=f"{random_weights.fnv1a64(data):016x}")
    return spec | dict(files={"adapter_config.json": config}, weights=[weights])


def make(name: str, scratch: pathlib.Path) -> None:
    model_name, kind, _, _, _, scale, _, prompt = CASES[name]
    base = REPOSITORY / model_name
    if not base.is_dir():
        spec_path = make_random_model.SPECS / f"{model_name}.json"
        base = scratch / model_name
        random_weights.write_model(json.loads(spec_path.read_text(encoding="utf-8")), base)
    model = kind.from_pretrained(base, dtype=torch.float32)
    spec = spec_of(name, model)
    text = json.dumps(spec, indent=1, ensure_ascii=False)
    (OUT / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    # PEFT has no scale beside the adapter's own: it goes into alpha.
    spec["files"]["adapter_config.json"]["lora_alpha"] *= scale
    adapter = scratch / f"{name}_adapter"
    random_weights.write_files(spec, adapter)
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    folder = scratch / f"{name}_merged" / base.name
    shutil.copytree(base, folder)
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    merged.save_pretrained(folder)
    tool = [sys.executable, "tools/make_golden.py", "--max-new-tokens", "8", str(folder)]
    golden = str(OUT / f"{name}.safetensors")
    subprocess.run([*tool, *prompt, golden], check=True, cwd=REPOSITORY)


def main():
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            make(name, pathlib.Path(folder))


if __name__ == "__main__":
    main()
