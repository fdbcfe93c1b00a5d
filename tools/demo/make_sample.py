"""Make the sample clip of models/demo: one object, 3 s of H.264, with questions and answers.

Tries seeds from --seed on and keeps the first clip whose three questions (colour, shape,
direction) the reference implementation answers exactly right, so the demo that every new user
runs first is one the model can do.

needs: the ffmpeg program, and what evaluate.py needs
"""

import argparse
import json
import pathlib
import sys

import numpy as np
from evaluate import Reference
from make_clips import CODECS, FPS, write_clip
from scenes import describe, does, render

SECONDS, WIDTH, HEIGHT = 3, 336, 252
SCENES = (  # common words, and a direction other than the most frequent answer
    dict(color="red", shape="circle", motion="right"),
    dict(color="yellow", shape="square", motion="down"),
    dict(color="green", shape="triangle", motion="left"),
)


def questions(scene: dict) -> list[tuple[str, str]]:
    """Questions about the one object with the sentences that answer them."""
    color, shape, motion = scene["color"], scene["shape"], scene["motion"]
    return [
        (f"Which direction does the {color} {shape} move?", f"The {color} {shape} {does(motion)}."),
        (f"What color is the {shape}?", f"The {shape} is {color}."),
        (f"What shape is the {color} object?", f"The {color} object is a {shape}."),
        ("Describe the video.", describe([scene])),
    ]


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("model", type=pathlib.Path, help="model directory: sample.{mp4,json} go here")
    p.add_argument("--seed", type=int, default=1, help="first seed to try")
    p.add_argument("--tries", type=int, default=20)
    a = p.parse_args()
    if not (a.model / "config.json").is_file():
        sys.exit(f"make_sample.py: {a.model}: no config.json; not a model directory")

    reference = Reference(a.model)
    clip = a.model / "sample.mp4"
    for seed in range(a.seed, a.seed + a.tries):
        rng = np.random.default_rng(seed)
        scene = dict(SCENES[seed % len(SCENES)])
        frames = render(rng, [scene], SECONDS * FPS, WIDTH, HEIGHT)
        if frames is None:
            continue
        write_clip(clip, frames, "h264")
        patches, rows = reference.patches(clip), []
        for question, expected in questions(scene):
            text, ids = reference.answer(patches, question)
            rows.append(dict(question=question, answer=text, answer_ids=ids))
            if text != expected:
                break
        else:
            sample = dict(
                clip=clip.name,
                seed=seed,
                seconds=SECONDS,
                fps=FPS,
                width=WIDTH,
                height=HEIGHT,
                codec=CODECS["h264"][1][1],
                scene=describe([scene]),
                video_grid_thw=patches["video_grid_thw"][0].tolist(),
                questions=rows,
            )
            (a.model / "sample.json").write_text(json.dumps(sample, indent=2) + "\n")
            print(f"{clip}: seed {seed}, {clip.stat().st_size} bytes, {sample['scene']}")
            return
        print(f"seed {seed}: {question} {text!r}, expected {expected!r}; trying the next")
    sys.exit("make_sample.py: no seed gave a clip that the reference answers right")


if __name__ == "__main__":
    main()
