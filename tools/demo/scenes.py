"""Synthetic clips of moving coloured shapes, with questions and answers about them."""

import numpy as np

COLORS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (45, 80, 225),
    "yellow": (235, 215, 50),
    "purple": (145, 55, 190),
    "orange": (245, 135, 30),
    "white": (240, 240, 240),
    "cyan": (50, 205, 215),
}
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
MOTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
SIZES = (
    (84, 84),
    (112, 84),
    (84, 112),
    (112, 56),
    (56, 112),
)  # width, height of training frames: multiples of 28
NUMBERS = ("zero", "one", "two", "three")
NOISE = np.random.default_rng(0).standard_normal(4_000_000, dtype=np.float32)


def signed_distance(shape, dx, dy, r):
    """Distance to the shape's edge in pixels, negative inside."""
    ax, ay = np.abs(dx), np.abs(dy)
    if shape == "circle":
        return np.hypot(dx, dy) - r
    if shape == "square":
        return np.maximum(ax, ay) - 0.88 * r
    if shape == "diamond":
        return (ax + ay) * 0.7071 - 0.80 * r
    if shape == "cross":
        return np.minimum(np.maximum(ax - 0.32 * r, ay - r), np.maximum(ax - r, ay - 0.32 * r))
    if shape == "ring":
        return np.abs(np.hypot(dx, dy) - 0.78 * r) - 0.24 * r
    if shape == "triangle":
        return np.maximum(0.894 * ax - 0.447 * (dy + r), dy - 0.7 * r)
    raise ValueError(shape)


def sample_scene(rng, max_objects=3):
    """1..max_objects objects of different colours: [{color, shape, motion}]."""
    chances = ([1], [0.5, 0.5], [0.35, 0.4, 0.25])[max_objects - 1]
    n = int(rng.choice(np.arange(1, max_objects + 1), p=chances))
    colors = rng.choice(list(COLORS), n, replace=False)
    return [
        dict(
            color=str(c),
            shape=SHAPES[rng.integers(len(SHAPES))],
            motion=list(MOTIONS)[rng.integers(len(MOTIONS))],
        )
        for c in colors
    ]


def _span(rng, direction, extent, r, travel):
    """Start and length of the way along one axis so that the object stays inside."""
    lo, hi = r + 1, extent - r - 1
    if direction == 0:
        return rng.uniform(lo, hi), 0.0
    way = max((hi - lo) * travel, 10)
    start = (
        rng.uniform(lo, max(lo + 1e-3, hi - way))
        if direction > 0
        else rng.uniform(min(lo + way, hi - 1e-3), hi)
    )
    return start, way


def _place(rng, motion, times, width, height, others):
    """A radius and a track (x[t], y[t]) clear of the other objects, or the best of 30 tries."""
    vx, vy = MOTIONS[motion]
    best = None
    for _ in range(30):
        r, travel = rng.uniform(0.13, 0.21) * min(width, height), rng.uniform(0.38, 0.62)
        x0, dx = _span(rng, vx, width, r, travel)
        y0, dy = _span(rng, vy, height, r, travel)
        x, y = x0 + vx * dx * times, y0 + vy * dy * times
        gap = min(
            [np.min(np.hypot(x - ox, y - oy) - (r + o_r)) for ox, oy, o_r in others], default=9
        )
        if best is None or gap > best[0]:
            best = gap, x, y, r
        if gap > 1:
            break
    return best


def render(rng, scene, frames, width, height):
    """uint8 [frames, height, width, 3], or None when the objects would hide one another.

    Adds `track` (x[t], y[t]) to each object of the scene.
    """
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    slope = rng.uniform(-25, 25, 2)
    back = (
        np.clip(rng.integers(10, 110) + rng.integers(-14, 15, 3), 0, 255)
        + ((xs / width - 0.5) * slope[0] + (ys / height - 0.5) * slope[1])[..., None]
    )
    clip = np.repeat(back[None].astype(np.float32), frames, 0)
    times, placed = np.linspace(0, 1, frames, dtype=np.float32), []
    for o in scene:
        gap, x, y, r = _place(rng, o["motion"], times, width, height, placed)
        if gap < -0.6 * r:
            return None
        placed.append((x, y, r))
        o["track"] = x, y
        color = np.clip(np.array(COLORS[o["color"]], np.float32) + rng.uniform(-18, 18, 3), 0, 255)
        reach = int(np.ceil(r)) + 2
        for i in range(frames):  # draw inside the bounding box only
            x0, y0 = max(int(x[i]) - reach, 0), max(int(y[i]) - reach, 0)
            x1, y1 = min(int(x[i]) + reach + 1, width), min(int(y[i]) + reach + 1, height)
            edge = signed_distance(o["shape"], xs[y0:y1, x0:x1] - x[i], ys[y0:y1, x0:x1] - y[i], r)
            box = clip[i, y0:y1, x0:x1]
            box += np.clip(0.5 - edge, 0, 1)[..., None] * (color - box)
    clip *= rng.uniform(0.88, 1.1)
    if clip.size <= NOISE.size:  # large renderings stay clean
        start = int(rng.integers(0, NOISE.size - clip.size + 1))
        clip += NOISE[start : start + clip.size].reshape(clip.shape) * rng.uniform(0, 5)
    return np.clip(clip, 0, 255, out=clip).astype(np.uint8)


def does(motion):
    return "stays still" if motion == "still" else f"moves {motion}"


def describe(scene):
    return " ".join(f"A {o['color']} {o['shape']} {does(o['motion'])}." for o in scene)


def ask(rng, scene):
    """A question about the scene and its answer."""
    o = scene[rng.integers(len(scene))]
    color, shape, motion = o["color"], o["shape"], o["motion"]
    unique_shape = sum(x["shape"] == shape for x in scene) == 1
    kind = rng.integers(12)
    pick = lambda *choices: choices[rng.integers(len(choices))]
    if kind <= 1 and unique_shape:
        return pick(
            "What color is the {0}?",
            "What is the color of the {0}?",
            "Which color does the {0} have?",
            "What colour is the {0}?",
        ).format(shape), f"The {shape} is {color}."
    if kind <= 3:
        return pick(
            "What shape is the {0} object?",
            "What is the {0} thing?",
            "Which shape is {0}?",
            "What shape is {0}?",
        ).format(color), f"The {color} object is a {shape}."
    if kind <= 7:
        what = shape if unique_shape and rng.random() < 0.35 else f"{color} {shape}"
        if len(scene) == 1 and rng.random() < 0.3:
            what = "object"
        question = pick(
            "Which direction does the {0} move?",
            "Which way is the {0} moving?",
            "How does the {0} move?",
            "What does the {0} do?",
            "Where is the {0} going?",
        )
        return question.format(what), f"The {what} {does(motion)}."
    if kind == 8:
        n = len(scene)
        return (
            pick(
                "How many objects are there?",
                "How many shapes are in the video?",
                "Count the objects.",
                "How many things do you see?",
            ),
            f"There {'is' if n == 1 else 'are'} {NUMBERS[n]} object{'' if n == 1 else 's'}.",
        )
    if kind == 9:
        c = color if rng.random() < 0.5 else str(rng.choice(list(COLORS)))
        s = shape if rng.random() < 0.6 else SHAPES[rng.integers(len(SHAPES))]
        there = any(x["color"] == c and x["shape"] == s for x in scene)
        return (
            pick(
                "Is there a {0} {1}?", "Is there a {0} {1} in the video?", "Do you see a {0} {1}?"
            ).format(c, s),
            f"Yes, there is a {c} {s}." if there else f"No, there is no {c} {s}.",
        )
    if kind == 10:
        d = motion if rng.random() < 0.5 else list(MOTIONS)[rng.integers(len(MOTIONS))]
        return (
            f"Is the {color} {shape} " + ("standing still?" if d == "still" else f"moving {d}?"),
            ("Yes" if d == motion else "No") + f", the {color} {shape} {does(motion)}.",
        )
    scene.sort(key=lambda x: list(COLORS).index(x["color"]))
    return pick(
        "Describe the video.",
        "What happens in the video?",
        "What is happening?",
        "Describe this clip.",
        "What do you see?",
    ), describe(scene)


def sample(rng, frames, width, height, max_objects=3):
    """A rendered clip with one question: (frames, question, answer, scene)."""
    while True:
        scene = sample_scene(rng, max_objects)
        clip = render(rng, scene, frames, width, height)
        if clip is not None:
            question, answer = ask(rng, scene)
            return clip, question, answer, scene
