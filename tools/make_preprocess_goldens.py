"""Remake tests/goldens/preprocess.json: what the references do to frames, sizes and pixels.

    python tools/make_preprocess_goldens.py

Calls the real functions of qwen-vl-utils, transformers, torchvision, Pillow and PyAV; nothing here
repeats their arithmetic. Pictures are deterministic noise (see `noise`), results are CRC-32.

needs: tools/requirements-golden.txt
"""

import base64
import io
import json
import pathlib
import struct
import zlib

import av
import numpy as np
import PIL
import PIL.Image
import qwen_vl_utils.vision_process as qwen
import torch
import torchvision
import torchvision.transforms.functional as tv1
import torchvision.transforms.v2.functional as tv2
import transformers
from torchvision.transforms import InterpolationMode
from transformers.models.qwen2_vl import image_processing_qwen2_vl, video_processing_qwen2_vl
from transformers.video_utils import VideoMetadata

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
MEDIA = REPOSITORY / "tests" / "media"
OUT = REPOSITORY / "tests" / "goldens" / "preprocess.json"


def noise(count: int, seed: int) -> np.ndarray:
    """Bytes of a 64-bit linear congruential generator, and of a wave: smooth and rough parts."""
    state, out = seed, np.empty(count, np.uint8)
    for i in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out[i] = state >> 56 if (i // 1024) % 2 else (i * 7 // 3 + (i >> 9)) & 255
    return out


def crc(array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def attempt(call):
    try:
        return call()
    except (ValueError, AssertionError, ZeroDivisionError):
        return None


# Sampling ------------------------------------------------------------------------------------------

TOTALS = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 29, 30, 31, 47, 48, 60, 61, 99, 100, 150, 251, 300, 301, 719,
          900, 1000, 1799, 3601, 12345, 54321, 107892]
RATES = [1.0, 5.0, 14.230417517443536, 23.976023976023978, 25.0, 29.970029970029973, 30.0, 50.0, 60.0]
ASKED = [{}, {"fps": 1.0}, {"fps": 0.5}, {"fps": 4.0}, {"fps": 2.0, "max_frames": 16},
         {"fps": 2.0, "min_frames": 10}, {"nframes": 7}, {"nframes": 16}, {"nframes": 64},
         {"fps": 0.1, "min_frames": 6, "max_frames": 9}]


def qwen_indices(asked, total, rate):
    start, end, count = qwen.calculate_video_frame_range(asked, total, rate)
    n = qwen.smart_nframes(asked, total_frames=count, video_fps=rate)
    return torch.linspace(start, end, n).round().long().tolist()


def hf_indices(processor, asked, total, rate):
    metadata = VideoMetadata(total_num_frames=total, fps=rate)
    rest = {k: v for k, v in asked.items() if k != "nframes"}
    if "nframes" in asked:
        return processor.sample_frames(metadata, num_frames=asked["nframes"]).tolist()
    return processor.sample_frames(metadata, **({"fps": 2.0} | rest)).tolist()


def summary(indices):
    """Count, CRC as little-endian 64-bit integers, and the last index."""
    return None if indices is None else [len(indices), crc(np.array(indices, "<i8")), indices[-1]]


def sampling_cases():
    processor = video_processing_qwen2_vl.Qwen2VLVideoProcessor()
    cases = []
    for i, total in enumerate(TOTALS):
        for j, rate in enumerate(RATES):
            for asked in ASKED if (i + j) % 3 == 0 else ASKED[:2]:
                cases.append([total, rate, asked,
                              summary(attempt(lambda: qwen_indices(asked, total, rate))),
                              summary(attempt(lambda: hf_indices(processor, asked, total, rate)))])
    return cases


def range_cases():
    cases = []
    for total, rate in ((300, 30.0), (301, 29.970029970029973), (50, 12.5)):
        for start in (None, 0.0, 0.5, 1.99, 3.999, 9.9, 50.0, -3.0):
            for end in (None, 0.01, 1.0, 2.0, 4.0, 100.0):
                asked = {}
                if start is not None:
                    asked["video_start"] = start
                if end is not None:
                    asked["video_end"] = end
                found = attempt(lambda: qwen.calculate_video_frame_range(asked, total, rate))
                cases.append([total, rate, start, end, found and list(found[:2])])
    return cases


# Sizes ---------------------------------------------------------------------------------------------

SIZES = [(1024, 2048), (480, 640), (720, 1280), (1080, 1920), (2160, 3840), (240, 320), (17, 23), (1, 150),
         (28, 28), (56, 1000), (5600, 28), (100, 20001), (1, 1), (14, 14), (42, 42), (70, 70), (333, 777),
         (4000, 40), (144, 176), (10, 1999)]
LIMITS = [(3136, 12845056), (100352, 602112), (3136, 1003520), (784, 784), (6272, 9408), (200704, 401408)]


def resize_target(fetch):
    """The size a reference passes to torchvision, without the work."""
    caught = []

    def spy(image, size, *args, **kwargs):
        caught.append(list(size))
        return torch.zeros((*image.shape[:-2], *size), dtype=torch.uint8)

    tv1_resize, tv2_resize = tv1.resize, tv2.resize
    tv1.resize = tv2.resize = spy
    try:
        fetch()
    finally:
        tv1.resize, tv2.resize = tv1_resize, tv2_resize
    return caught[0]


def budget_cases():
    """qwen-vl-utils' size of a frame, given its number and options."""
    cases = []
    for height, width in ((1024, 2048), (480, 640), (100, 80), (2160, 3840)):
        for n in (4, 10, 64, 300, 768):
            for asked in ({}, {"max_pixels": 200704}, {"min_pixels": 50176, "max_pixels": 100352},
                          {"total_pixels": 20000000}, {"max_pixels": 5000000}):
                video = torch.empty((n, 3, height, width), dtype=torch.uint8, device="meta")
                qwen.VIDEO_READER_BACKENDS["torchvision"] = lambda ele: (video, {}, 2.0)
                qwen.get_video_reader_backend = lambda: "torchvision"
                cases.append([height, width, n, asked, resize_target(
                    lambda: qwen.fetch_video({"video": "clip", **asked}))])
    return cases


def smart_resize_cases():
    cases = []
    for height, width in SIZES:
        for low, high in LIMITS:
            cases.append([height, width, low, high,
                          attempt(lambda: list(qwen.smart_resize(height, width, 28, low, high))),
                          attempt(lambda: list(image_processing_qwen2_vl.smart_resize(
                              height, width, 28, low, high)))])
    return cases


# Pixels --------------------------------------------------------------------------------------------

RESIZES = [((48, 64), (28, 56)), ((37, 51), (84, 112)), ((61, 43), (28, 140)), ((100, 200), (56, 112)),
           ((49, 65), (56, 56)), ((131, 257), (56, 84)), ((360, 20), (28, 28)), ((33, 64), (33, 84)),
           ((64, 33), (84, 33)), ((240, 426), (140, 252))]


def resize_cases():
    cases = []
    for k, ((height, width), (h, w)) in enumerate(RESIZES):
        image = noise(height * width * 3, k + 1).reshape(height, width, 3)
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
        pil = np.asarray(PIL.Image.fromarray(image).resize((w, h)))
        results = [resize([h, w]) for resize in (
            lambda s: tv1.resize(tensor, s, InterpolationMode.BICUBIC, antialias=True),
            lambda s: tv2.resize(tensor, s, InterpolationMode.BICUBIC, antialias=True))]
        crcs = [crc(r[0].permute(1, 2, 0).numpy()) for r in results] + [crc(pil)]
        cases.append([height, width, h, w, k + 1, crcs])
    return cases


def patchify_case():
    video = noise(4 * 84 * 56 * 3, 99).reshape(4, 84, 56, 3)
    processor = video_processing_qwen2_vl.Qwen2VLVideoProcessor()
    out = processor(torch.from_numpy(video).permute(0, 3, 1, 2), do_resize=False,
                    do_sample_frames=False, return_tensors="pt")
    pixels = out["pixel_values_videos"].numpy()
    return {"seed": 99, "frames": 4, "height": 84, "width": 56, "shape": list(pixels.shape),
            "crc": crc(pixels), "grid_thw": out["video_grid_thw"][0].tolist()}


# Images --------------------------------------------------------------------------------------------

def png_by_hand(width, height, depth, color, rows, extra=b""):
    """What Pillow cannot write: 16-bit samples, small depths, transparency chunks."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", width, height, depth, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def transparency(data):
    return struct.pack(">I", len(data)) + b"tRNS" + data + struct.pack(">I", zlib.crc32(b"tRNS" + data))


def image_files():
    width, height = 22, 13
    data = noise(width * height * 8 + 4096, 5)[2048:]
    rgb = PIL.Image.fromarray(data[:width * height * 3].reshape(height, width, 3))
    rgba = PIL.Image.fromarray(data[:width * height * 4].reshape(height, width, 4))
    grey = rgb.convert("L")

    def saved(image, kind, **options):
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    def rows(n):
        return [data[y * n:(y + 1) * n].tobytes() for y in range(height)]

    orientation = PIL.Image.Exif()
    orientation[0x0112] = 6
    yield "rgb.png", saved(rgb, "PNG")
    yield "rgba.png", saved(rgba, "PNG")
    yield "grey.png", saved(grey, "PNG")
    yield "grey_alpha.png", saved(rgba.convert("LA"), "PNG")
    yield "bilevel.png", saved(grey.convert("1"), "PNG")
    yield "palette.png", saved(rgb.quantize(16), "PNG")
    yield "palette_transparent.png", saved(rgb.quantize(16), "PNG", transparency=3)
    yield "palette_alpha.png", saved(rgb.quantize(16), "PNG", transparency=bytes(range(0, 160, 10)))
    yield "grey2.png", png_by_hand(width, height, 2, 0, rows(6))
    yield "grey4.png", png_by_hand(width, height, 4, 0, rows(11))
    yield "grey16.png", png_by_hand(width, height, 16, 0, rows(width * 2))
    yield "grey_alpha16.png", png_by_hand(width, height, 16, 4, rows(width * 4))
    yield "rgb16.png", png_by_hand(width, height, 16, 2, rows(width * 6))
    yield "rgba16.png", png_by_hand(width, height, 16, 6, rows(width * 8))
    yield "rgb_key.png", png_by_hand(width, height, 8, 2, rows(width * 3), transparency(b"\0\1\0\2\0\3"))
    yield "rgb.jpg", saved(rgb, "JPEG", quality=90)
    yield "rgb_444.jpg", saved(rgb, "JPEG", quality=95, subsampling=0)
    yield "rgb_422.jpg", saved(rgb, "JPEG", quality=80, subsampling=1)
    yield "progressive.jpg", saved(rgb, "JPEG", quality=70, progressive=True)
    yield "grey.jpg", saved(grey, "JPEG")
    yield "cmyk.jpg", saved(rgb.convert("CMYK"), "JPEG", quality=90)
    yield "orientation.jpg", saved(rgb, "JPEG", exif=orientation)
    yield "lossy.webp", saved(rgb, "WEBP", quality=80)
    yield "lossless.webp", saved(rgb, "WEBP", lossless=True)
    yield "alpha.webp", saved(rgba, "WEBP", quality=80)
    yield "alpha_lossless.webp", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "animated.webp", saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)], lossless=True)
    yield "animated_alpha.webp", saved(rgba, "WEBP", save_all=True, append_images=[rgba.rotate(180)],
                                       lossless=True)


def image_cases():
    cases = []
    for name, data in image_files():
        image = PIL.Image.open(io.BytesIO(data))
        mode = image.mode
        pixels = np.asarray(qwen.to_rgb(image))
        cases.append([name, base64.b64encode(data).decode(), mode, list(pixels.shape[:2]), crc(pixels)])
    return cases


# Frames --------------------------------------------------------------------------------------------

# Quarter turns counter-clockwise that numpy must make of the stored frame, and mirroring before it.
TURNS = {"turned_90.mp4": (3, False), "turned_180.mp4": (2, False), "turned_270.mp4": (1, False),
         "mirrored.mp4": (0, True), "mirrored_90.mp4": (3, True), "mirrored_180.mp4": (2, True),
         "mirrored_270.mp4": (1, True), "aspect_turned.mp4": (3, False)}
# Chroma of odd widths is interpolated a little differently by versions of FFmpeg: the first frame is kept whole.
NEARLY = ("odd.webm",)
# The inverse DCT of MPEG-2 and MPEG-4 may differ by one between versions of FFmpeg.
INEXACT = ("open_group.ts", "reordered.avi")


# Nothing to show in them.
REFUSED = ("sound_only.m4a", "cover_only.m4a")


def pyav_frames(path):
    """RGB and seconds (None: the container does not say) of every frame, as stored."""
    with av.open(path if isinstance(path, io.BytesIO) else str(path)) as container:
        for frame in container.decode(container.streams.best("video")):
            seconds = None if frame.pts is None else float(frame.pts * frame.time_base)
            yield frame.to_ndarray(format="rgb24"), seconds


def webp_frames(path):
    """The same by Pillow, on white as qwen-vl-utils' to_rgb: PyAV reads no animated WebP."""
    seconds = 0
    with PIL.Image.open(path) as image:
        for i in range(image.n_frames):
            image.seek(i)
            yield np.asarray(qwen.to_rgb(image)), seconds
            seconds += image.info["duration"] / 1000


def frame_cases():
    cases = {}
    for path in sorted(MEDIA.iterdir()):
        if path.name in REFUSED:
            continue
        turns, mirror = TURNS.get(path.name, (0, False))
        crcs, sums, pts, sizes, whole = [], [], [], [], None
        for pixels, seconds in (webp_frames if path.suffix == ".webp" else pyav_frames)(path):
            pixels = np.rot90(pixels[:, ::-1] if mirror else pixels, turns)
            crcs.append(crc(pixels))
            sums.append(int(pixels.sum()))
            whole = base64.b64encode(pixels.tobytes()).decode() if not pts and path.name in NEARLY else whole
            pts.append(seconds if seconds is None else round(seconds, 6))
            sizes.append(list(pixels.shape[:2]))
        same = all(size == sizes[0] for size in sizes)
        cases[path.name] = {"size": sizes[0], **({} if same else {"sizes": sizes}), "pts": pts,
                            **({"sum": sums} if path.name in INEXACT + NEARLY else {"crc": crcs}),
                            **({"first": whole} if whole else {})}
    return cases


# Joined recordings ---------------------------------------------------------------------------------

TS_PACKET = 188


def part_from(data, group):
    """A transport stream as a recording that begins with a group: the tables (SDT, PAT, PMT) and the rest."""
    packets = [data[i:i + TS_PACKET] for i in range(0, len(data), TS_PACKET)]
    begins = [i for i, p in enumerate(packets) if p[1] & 0x40 and p[3] & 0x20 and p[4] > 0 and p[5] & 0x40]
    return b"".join(packets[:3] + packets[begins[group]:])


def joined_cases():
    """Clips followed by their own end, which begins in an open group, on a clock that goes back.

    MPEG-2: PyAV's frames of the two as one file. H.264 and HEVC: of the second part alone, as FFmpeg decodes it
    (it leaves the pictures out that lead its first key frame); of both it mixes up the order and drops frames."""
    cases = []
    for name, group, alone in (("open_group.ts", 3, False), ("open_group_h264.ts", 1, True),
                               ("open_group_hevc.ts", 1, True)):
        data = (MEDIA / name).read_bytes()
        part = part_from(data, group)
        frames = [pixels for pixels, _ in pyav_frames(io.BytesIO(part if alone else data + part))]
        key = "crc" if alone else "sum"
        cases.append({"name": name, "group": group,
                      key: [crc(pixels) if alone else int(pixels.sum()) for pixels in frames]})
    return cases


def main():
    golden = {
        "made_by": "tools/make_preprocess_goldens.py",
        "versions": {m.__name__: m.__version__ for m in (torch, torchvision, transformers, PIL, av)},
        "sampling": sampling_cases(), "ranges": range_cases(), "budgets": budget_cases(),
        "smart_resize": smart_resize_cases(), "resize": resize_cases(), "patchify": patchify_case(),
        "images": image_cases(), "frames": frame_cases(), "joined": joined_cases(),
    }
    lines = []
    for key, value in golden.items():
        if isinstance(value, list):
            body = ",\n".join(json.dumps(v, separators=(",", ":")) for v in value)
            lines.append(f"{json.dumps(key)}: [\n{body}]")
        elif key == "frames":
            body = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}"
                              for k, v in value.items())
            lines.append(f"{json.dumps(key)}: {{\n{body}}}")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    OUT.write_text("{" + ",\n".join(lines) + "}\n")
    print(OUT.relative_to(REPOSITORY), OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
