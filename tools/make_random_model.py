"""Seeded random models that vary every size, name and layout: specs, and directories.

    make_random_model.py NAME DIR            write the model of tests/goldens/models/NAME.json
    make_random_model.py --list              what there is
    make_random_model.py --specs             write tests/goldens/models/*.json from random_models.py
    make_random_model.py NAME --search N     try N seeds, print those whose greedy answers have
                                             the largest margins (to put there)

The weights are those of tools/random_weights.py, which tests/support/random_model.cc makes in C++
too. Their scales are chosen so that attention, the tower and the media all matter, and the seeds so
that greedy decoding gives varied tokens with clear margins.

needs: numpy; --search also tools/requirements-golden.txt
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

import random_weights
from random_model_files import config, generation_config, processor_files, tokenizer_files
from random_model_tensors import tensors
from random_models import MODELS, NAMES, VISION, Model

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SPECS = REPOSITORY / "tests" / "goldens" / "models"
MAX_BYTES = 2_200_000


def spec(name: str, m: Model) -> dict:
    """The document that goes to tests/goldens/models/NAME.json."""
    all_tensors = tensors(m)
    if m.shards == 1:
        parts = [("model.safetensors", all_tensors)]
    else:  # cut so that a layer's tensors fall into different files
        size, parts = -(-len(all_tensors) // m.shards), []
        for i in range(m.shards):
            file = f"model-{i + 1:05d}-of-{m.shards:05d}.safetensors"
            parts.append((file, all_tensors[i * size : (i + 1) * size]))
    files = {"config.json": config(m)}
    if m.family != "chatglm":  # which has none
        files["generation_config.json"] = generation_config(m)
    files |= processor_files(m) | tokenizer_files(m)
    document = dict(name=name, about=m.about, seed=m.seed, dtype=m.dtype, tokenizer=m.tokenizer)
    document |= dict(files=files, weights=[])
    for file, part in parts:
        data = random_weights.weight_file(document, part)
        digest = f"{random_weights.fnv1a64(data):016x}"
        document["weights"].append(dict(file=file, bytes=len(data), fnv1a64=digest, tensors=part))
    return document


def save_spec(path: pathlib.Path, document: dict) -> None:
    """JSON with one tensor a line, so that a change reads well."""
    weights = document["weights"]
    head = json.dumps({k: v for k, v in document.items() if k != "weights"}, indent=1)
    lines = []
    for w in weights:
        rows = ",\n   ".join(json.dumps(t) for t in w["tensors"])
        facts = json.dumps({k: v for k, v in w.items() if k != "tensors"})
        lines.append(f'  {facts[:-1]}, "tensors": [\n   {rows}]}}')
    joined = ",\n".join(lines)
    path.write_text(f'{head[:-2]},\n "weights": [\n{joined}]\n}}\n', encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == document


def load_spec(name: str) -> dict:
    path = SPECS / f"{name}.json"
    if not path.is_file():
        known = " ".join(sorted(p.stem for p in SPECS.glob("*.json")))
        sys.exit(f"make_random_model.py: {name}: no such spec; there are {known}")
    return json.loads(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------------------------------------
# Seeds


def search(name: str, m: Model, tries: int) -> None:
    """Print the seeds whose golden prompts have the most varied tokens and largest margins."""
    import make_goldens
    import reference
    import torch

    prompts = [p for p in make_goldens.RANDOM.values() if p[0] == name]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        random_weights.write_model(spec(name, m), out)
        model = reference.load(out)
        parameters, prepared = dict(model.model.named_parameters()), []
        for _, media, question, options in prompts:
            chosen = make_goldens.parsed(options)
            opened = [reference.open_media(str(REPOSITORY / p)) for p in media]
            text = model.prompt(opened, question, chosen.system)
            prepared.append((opened, text, *model.inputs(opened, text, chosen), chosen))
        for seed in range(1, tries + 1):
            for t in tensors(m):
                x = random_weights.values(seed, t["name"], t["shape"], t["gain"], t["bias"])
                x = torch.from_numpy(x).to(getattr(torch, NAMES[m.dtype])).float()
                target = t["name"]
                if m.names == "old" and m.family in VISION:
                    target = target.replace("model.", "model.language_model.", 1)
                    target = target.replace("visual.", "model.visual.", 1)
                parameters[target].data.copy_(x)
            margins, varied = [], []
            for prompt in prepared:
                with torch.no_grad():
                    result = model.decode(*prompt)
                logits, ids = result.step_logits, result.generated_ids.tolist()
                best = logits.topk(2).values
                margins.append(((best[:, 0] - best[:, 1]) / logits.abs().amax(1)).min().item())
                text = all(i < ENDOFTEXT for i in ids)
                varied.append(len(set(ids)) / len(ids) if text else 0)
            found.append((min(margins) if min(varied) >= 0.6 else -1, min(varied), seed))
    for margin, share, seed in sorted(found, reverse=True)[:3]:
        print(f"{name}: seed {seed}: smallest relative margin {margin:.4f}, varied {share:.2f}")


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("name", nargs="?", metavar="NAME")
    p.add_argument("out", nargs="?", type=pathlib.Path, metavar="DIR")
    p.add_argument("--list", action="store_true")
    p.add_argument("--specs", action="store_true")
    p.add_argument("--search", type=int, metavar="N")
    a = p.parse_args()
    if a.search:
        for name in [a.name] if a.name else MODELS:
            search(name, MODELS[name], a.search)
    elif a.specs:
        SPECS.mkdir(parents=True, exist_ok=True)
        for name, m in MODELS.items():
            document = spec(name, m)
            save_spec(SPECS / f"{name}.json", document)
            size = sum(w["bytes"] for w in document["weights"])
            print(f"{name:14s} {size:8d} bytes  {m.about}")
            if size > MAX_BYTES:
                sys.exit(f"make_random_model.py: {name}: over {MAX_BYTES} bytes")
    elif a.list:
        for path in sorted(SPECS.glob("*.json")):
            print(f"{path.stem:14s} {load_spec(path.stem)['about']}")
    elif a.name and a.out:
        random_weights.write_model(load_spec(a.name), a.out)
    else:
        p.error("NAME and DIR, or one of --list, --specs, --search")


if __name__ == "__main__":
    main()
