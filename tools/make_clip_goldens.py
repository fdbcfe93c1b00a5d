"""Write tests/goldens/clips.json: frames and sizes that transformers' Qwen3VLVideoProcessor chooses.

    python tools/make_clip_goldens.py

needs: tools/requirements-golden.txt
"""

import json
import pathlib
import random

from transformers.models.qwen3_vl import video_processing_qwen3_vl as reference
from transformers.video_utils import VideoMetadata

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "clips.json"


def frame_cases(rng):
    """[total, fps of the video, what was asked for, indices]."""
    for _ in range(120):
        total, fps = rng.choice([1, 2, 3, 5, 31, 250, 1777]), rng.choice([10.0, 23.976, 25.0, 60.0])
        asked = rng.choice([{}, {"fps": 0.7}, {"fps": 3.5}, {"nframes": rng.randint(1, total)}])
        if "nframes" not in asked and rng.random() < 0.4:
            asked = asked | {"min_frames": rng.randint(1, 6), "max_frames": rng.randint(6, 40)}
        processor = reference.Qwen3VLVideoProcessor(cap_pixels_per_frame=False)
        for key in ("min_frames", "max_frames"):
            setattr(processor, key, asked.get(key, getattr(processor, key)))
        indices = processor.sample_frames(
            VideoMetadata(total_num_frames=total, fps=fps),
            num_frames=asked.get("nframes"),
            fps=asked.get("fps"),
        )
        yield [total, fps, asked, indices.tolist()]


def size_cases(rng):
    """[frames, height, width, smallest and largest volume, [height, width]]."""
    for _ in range(200):
        n, h, w = rng.randint(2, 64), rng.randint(9, 900), rng.randint(9, 1500)
        low = rng.choice([4096, 131072, 2_000_000])
        high = rng.choice([25_165_824, 786_432, 4_000_000])
        if max(h, w) / min(h, w) < 100:
            size = reference.smart_resize(n, h, w, factor=32, min_pixels=low, max_pixels=max(low, high))
            yield [n, h, w, low, max(low, high), list(size)]


def main():
    rng = random.Random(3)
    document = {"frames": list(frame_cases(rng)), "sizes": list(size_cases(rng))}
    text = json.dumps(document, separators=(",", ":")).replace('],[', '],\n[')
    OUT.write_text(text + "\n")
    print(f"{OUT.name}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
