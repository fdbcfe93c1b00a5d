"""Remake every committed golden: tests/goldens/*.safetensors. One command, some minutes.

    python tools/make_goldens.py                 all of them
    python tools/make_goldens.py demo_image ...  some, by name
    python tools/make_goldens.py --list          what there is and how each is made

Each golden is one call of tools/make_golden.py, printed before it runs. The random models that some
of them need are generated from tests/goldens/models/*.json into a temporary directory.

needs: tools/requirements-golden.txt
"""

import argparse
import pathlib
import shlex
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
GOLDENS = REPOSITORY / "tests" / "goldens"
SAMPLE = "models/demo/sample.mp4"
MEDIA = "tests/goldens/media/"
LIMIT, TOTAL = 300_000, 6_000_000  # bytes: one golden, all of them


# name: (media, question, options). The model is models/demo.
DEMO = {
    "demo_direction": ([SAMPLE], "Which direction does the yellow square move?", ""),
    "demo_describe": ([SAMPLE], "Describe the video.", ""),
    "demo_text": ([], "What color is the square?", ""),
    "demo_system": ([SAMPLE], "What do you see?", "--system 'Answer in one word.'"),
    "demo_image": ([MEDIA + "square.png"], "What color is the square?", ""),
    "demo_jpeg": ([MEDIA + "odd.jpg"], "What shape is the green object?", ""),
    "demo_webp": ([MEDIA + "ring.webp"], "What color is the ring?", "--max-pixels 25088"),
    "demo_alpha": ([MEDIA + "alpha.png"], "Describe the video.", ""),
    "demo_grey": ([MEDIA + "grey.png"], "What shape is the white object?", ""),
    "demo_two_videos": (
        [MEDIA + "wide.mp4", MEDIA + "tall.mp4"],
        "Is there a blue square?",
        "",
    ),
    "demo_mixed": (
        [MEDIA + "square.png", MEDIA + "square.mp4", MEDIA + "odd.jpg"],
        "How many objects are there?",
        "",
    ),
    "demo_vp9": ([MEDIA + "small.webm"], "Which way is the ring moving?", ""),
    "demo_hevc": ([MEDIA + "hevc.mp4"], "What does the cyan diamond do?", ""),
    "demo_rotated": ([MEDIA + "rotated.mp4"], "Which way is the blue square moving?", ""),
    "demo_gif": ([MEDIA + "moving.gif"], "What color is the circle?", ""),
    "demo_range": ([SAMPLE], "Where is the square going?", "--from 0.5 --to 2.1"),
    "demo_frames": ([MEDIA + "square.mp4"], "Describe the video.", "--frames 8"),
    "demo_fps": ([SAMPLE], "Describe the video.", "--fps 1.5 --min-frames 2 --max-frames 20"),
    "demo_pixels": (
        [MEDIA + "tall.mp4"],
        "Which way is the triangle moving?",
        "--min-pixels 25088 --max-pixels 50176 --frames 2",
    ),
    # t = 10 slices on a grid 3 high and 4 wide: here the two M-RoPE rules differ.
    "demo_long": ([MEDIA + "long.mp4"], "How does the orange cross move?", "--frames 20"),
    "demo_long_installed": (
        [MEDIA + "long.mp4"],
        "How does the orange cross move?",
        "--frames 20 --positions installed",
    ),
    "demo_hf": ([SAMPLE], "Which direction does the yellow square move?", "--reference hf"),
    "demo_hf_frames": (
        [MEDIA + "square.mp4"],
        "What color is the circle?",
        "--reference hf --frames 6",
    ),
    "demo_hf_image": (
        [MEDIA + "odd.jpg", MEDIA + "alpha.png"],
        "Describe the video.",
        "--reference hf",
    ),
    "demo_layers": ([SAMPLE], "What color is the square?", "--layers"),
    "demo_bf16": ([SAMPLE], "What shape is the yellow object?", "--dtype bf16"),
}


CHATGLM_LONG = 60 * "The ring is moving up and then to the left. "
QWEN_LONG = "\n\nThe red circle moves to the right. "
# name: (random model, media, question, options). The models: tools/make_random_model.py --list.
RANDOM = {
    "random_flat_bf16": ("flat_bf16", [MEDIA + "square.mp4"], "Describe the video.", "--frames 2"),
    "random_flat_bf16_image": ("flat_bf16", [MEDIA + "odd.jpg"], "What color is it?", ""),
    "random_groups3_f32": ("groups3_f32", [MEDIA + "wide.mp4"], "Which way?", ""),
    "random_groups3_f32_text": ("groups3_f32", [], "The red circle moves to the right.", ""),
    "random_groups6_f16": ("groups6_f16", [MEDIA + "tall.mp4"], "What shape is it?", ""),
    "random_head128_bf16": (
        "head128_bf16",
        [MEDIA + "square.png", MEDIA + "small.webm"],
        "How many objects are there?",
        "",
    ),
    "random_odd_f32_layers": (
        "odd_f32",
        [MEDIA + "small.webm", MEDIA + "odd.jpg"],
        "Where does it go?",
        "--layers",
    ),
    "random_odd_f32": ("odd_f32", [MEDIA + "small.webm"], "Where does it go?", ""),
    "random_odd_f32_long": ("odd_f32", [MEDIA + "long.mp4"], "What is it?", "--frames 24"),
    "random_sharded_bf16": ("sharded_bf16", [MEDIA + "hevc.mp4"], "Describe the video.", ""),
    "random_head64_f16": ("head64_f16", [MEDIA + "ring.webp"], "Is there a ring?", ""),
    "random_heads12_f32": (
        "heads12_f32",
        [MEDIA + "wide.mp4", MEDIA + "square.mp4"],
        "What do you see?",
        "--max-new-tokens 12",
    ),
    "random_heads12_f32_hf": (
        "heads12_f32",
        [MEDIA + "square.mp4"],
        "Is it red?",
        "--reference hf",
    ),
    "random_qwen2_5_vl_flat": (
        "qwen2_5_vl_flat_bf16",
        [MEDIA + "wide.mp4"],
        "Which way?",
        "--layers --max-new-tokens 5",
    ),
    "random_qwen2_5_vl_flat_image": (
        "qwen2_5_vl_flat_bf16",
        [MEDIA + "odd.jpg"],
        "What is it?",
        "--max-new-tokens 5",
    ),
    "random_qwen2_5_vl_odd": (
        "qwen2_5_vl_odd_f32",
        [MEDIA + "tall.mp4", MEDIA + "square.png"],
        "Where does it go?",
        "--layers --max-new-tokens 5",
    ),
    "random_qwen2_5_vl_odd_long": (
        "qwen2_5_vl_odd_f32",
        [MEDIA + "long.mp4"],
        "How does it move?",
        "--fps 3 --max-frames 24 --max-pixels 9408 --max-new-tokens 5",
    ),
    "random_qwen2_5_vl_odd_hf": (
        "qwen2_5_vl_odd_f32",
        [MEDIA + "small.webm"],
        "What do you see?",
        "--reference hf --positions installed --max-new-tokens 5",
    ),
    "random_qwen3_vl_tied": (
        "qwen3_vl_tied_bf16",
        [MEDIA + "wide.mp4"],
        "Which way?",
        "--layers --min-pixels 12288 --max-pixels 36864 --max-new-tokens 5",
    ),
    "random_qwen3_vl_tied_text": (
        "qwen3_vl_tied_bf16",
        [],
        "The red circle moves.",
        "--layers --max-new-tokens 5",
    ),
    "random_qwen3_vl_odd": (
        "qwen3_vl_odd_f32",
        [MEDIA + "tall.mp4", MEDIA + "square.png"],
        "Where does it go?",
        "--layers --min-pixels 12288 --max-pixels 36864 --max-new-tokens 5",
    ),
    # Over one call of Decoder::prefill long, and from the middle of a clip.
    "random_qwen3_vl_odd_long": (
        "qwen3_vl_odd_f32",
        [MEDIA + "long.mp4"],
        "How does it move?",
        "--from 0.4 --fps 4 --max-frames 30 --min-pixels 36864 --max-pixels 49152"
        " --max-new-tokens 5",
    ),
    "random_qwen3_vl_odd_hf": (
        "qwen3_vl_odd_f32",
        [MEDIA + "small.webm", MEDIA + "odd.jpg"],
        "What do you see?",
        "--reference hf --positions installed --max-new-tokens 5",
    ),
    "random_qwen2_head64": ("qwen2_head64_bf16", [], "The red circle moves.", "--layers"),
    "random_qwen2_head64_system": (
        "qwen2_head64_bf16",
        [],
        "Which way?",
        "--system 'Answer in one word.'",
    ),
    "random_qwen2_head128": ("qwen2_head128_f16", [], "Where is the square going?", ""),
    # Trained on 24 positions: a prompt within them whose answer is not, and prompts of over one and
    # over two times as many.
    "random_qwen": ("qwen_heads2_bf16", [], "Go.", "--max-new-tokens 6 --layers"),
    "random_qwen_long": ("qwen_heads2_bf16", [], QWEN_LONG, "--max-new-tokens 4 --layers"),
    "random_qwen_longer": ("qwen_heads2_bf16", [], 3 * QWEN_LONG, "--max-new-tokens 4"),
    "random_qwen_head128": ("qwen_head128_f16", [], QWEN_LONG, "--system '\n Answer in one word.'"),
    "random_chatglm2": ("chatglm2_heads4_bf16", [], "What color is the square?", "--layers"),
    "random_chatglm2_bf16": ("chatglm2_heads4_bf16", [], "红色的圆向哪里移动？", "--dtype bf16"),
    "random_chatglm2_long": (
        "chatglm2_long_f32",
        [],
        3 * QWEN_LONG,
        "--layers --max-new-tokens 4",
    ),
    "random_chatglm3": ("chatglm3_head64_f16", [], "Where is it going?", "--layers"),
    "random_chatglm3_system": (
        "chatglm3_head64_f16",
        [],
        "你好",
        "--system 'Answer in one word.'",
    ),
    "random_chatglm": ("chatglm_heads4_bf16", [], "Which way does the red circle move?", "--layers"),
    "random_chatglm_images": (
        "chatglm_images_f32",
        [],
        "\n 问：红色的圆\n\t  向哪里移动？   ",
        "--max-new-tokens 5 --layers",
    ),
    "random_chatglm_bf16": (
        "chatglm_heads4_bf16",
        [],
        "红色的圆向哪里移动？",
        "--dtype bf16 --max-new-tokens 5",
    ),
    # Longer than a tile of the decoder.
    "random_chatglm_long": ("chatglm_heads4_bf16", [], CHATGLM_LONG, "--max-new-tokens 4"),
}
RANDOM_TOKENS = 8  # generated tokens, when the options do not say


def command(name: str, models: pathlib.Path) -> list[str]:
    """The arguments of make_golden.py that make a golden."""
    out = f"tests/goldens/{name}.safetensors"
    if name in DEMO:
        media, question, options = DEMO[name]
        return ["models/demo", *media, question, out, *shlex.split(options)]
    model, media, question, options = RANDOM[name]
    if "--max-new-tokens" not in options:
        options += f" --max-new-tokens {RANDOM_TOKENS}"
    spec = f"tests/goldens/models/{model}.json"
    return [str(models / model), *media, question, out, *shlex.split(options), "--spec", spec]


def parsed(options: str):
    """A golden's options, as reference.Options (for tools/make_random_model.py --search)."""
    import make_golden

    if "--max-new-tokens" not in options:
        options += f" --max-new-tokens {RANDOM_TOKENS}"
    return make_golden.options(
        make_golden.parser().parse_args(["m", "q", "o", *shlex.split(options)])
    )


def run(arguments: list[str]) -> None:
    print("python tools/make_golden.py", shlex.join(arguments), flush=True)
    tool = [sys.executable, "tools/make_golden.py", *arguments]
    subprocess.run(tool, check=True, cwd=REPOSITORY)


def make(names: list[str], dry: bool) -> None:
    """Make these goldens; dry: print the commands only."""
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path("MODELS") if dry else pathlib.Path(folder)
        for name in names:
            if name in RANDOM:
                model = RANDOM[name][0]
                line = [model, str(models / model)]
                print("python tools/make_random_model.py", shlex.join(line), flush=True)
                if not dry:
                    tool = [sys.executable, "tools/make_random_model.py", *line]
                    subprocess.run(tool, check=True, cwd=REPOSITORY)
            if dry:
                print("python tools/make_golden.py", shlex.join(command(name, models)))
            else:
                run(command(name, models))


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("names", nargs="*", metavar="NAME")
    p.add_argument("--list", action="store_true", help="print the commands only")
    a = p.parse_args()
    known = [*DEMO, *RANDOM]
    for name in a.names:
        if name not in known:
            sys.exit(f"make_goldens.py: {name}: unknown; one of {' '.join(known)}")
    make(a.names or known, a.list)
    sizes = {f.name: f.stat().st_size for f in GOLDENS.glob("*.safetensors")}
    for name, size in sizes.items():
        if size >= LIMIT:
            sys.exit(f"make_goldens.py: {name}: {size} bytes, the limit is {LIMIT}")
    if sum(sizes.values()) >= TOTAL:
        sys.exit(f"make_goldens.py: {sum(sizes.values())} bytes in all, the limit is {TOTAL}")


if __name__ == "__main__":
    main()
