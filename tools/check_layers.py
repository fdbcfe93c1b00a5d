#!/usr/bin/env python3
"""Fails on an include that points the wrong way: tools/check_layers.py [TREE]

What may include what is the four tables below; docs/architecture.md says why. Only #include lines are
read, of the tree as it lies on disk.
"""

import pathlib
import re
import sys

# Folder -> the folders it may include (besides itself). tests/ may include everything.
BELOW = {
    "core": set(),
    "kernels": {"core"},
    "layers": {"core", "kernels"},
    "preprocess": {"core"},
    "vision": {"core", "kernels", "layers"},
    "llm": {"core", "kernels", "layers"},
}
BELOW["pipeline"] = set(BELOW)
BELOW["apps"] = set(BELOW)
BELOW["bench"] = set(BELOW)

# Library from outside -> (its headers, which files may include them, directly or through another).
OUTSIDE = {
    "FFmpeg": (r"lib(av\w+|sw\w+|postproc)/", r"preprocess/.*|apps/.*\.cc|tests/.*"),
    "OpenCV": (r"opencv2/", r"preprocess/.*|(apps|bench)/.*\.cc|tests/.*"),
    "oneDNN": (r"oneapi/dnnl|dnnl", r"kernels/.*\.cc|bench/.*\.cc"),
    "xxHash": (r"xxh", r"core/.*\.cc"),
}

# What no installed header includes, directly or through another: a consumer has only the standard library.
NOT_IN_PUBLIC = re.compile(
    r"nlohmann/|fmt/|lib(av|sw)\w+/|opencv2/|oneapi/|dnnl|Eigen/|unicode/|sentencepiece|xxh|omp\.h|"
    r"jpeglib\.h|png\.h|webp/|CLI/")

# What a file compiled with -m flags may include, directly or through another: headers whose inline code
# cannot become the copy that the linker keeps for the whole program, which would then need that CPU.
ISA_SAFE = re.compile(
    r"\w*intrin\.h|cpuid\.h|simde/.*|"
    r"(bit|cassert|cfloat|climits|cmath|cstddef|cstdint|cstring|limits|type_traits)|"
    r"(float|limits|math|stddef|stdint|string)\.h")
ISA_FOLDER = re.compile(r"kernels/(?!reference/)[^/]+/|preprocess/vector/|bench/ceilings/[^/]+/")

# Implementations whose headers stay at home; cmake/ReelmLibrary.cmake has the same.
INTERNAL = re.compile(r"kernels/[^/]+/|preprocess/vector/")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
SOURCES = {".h", ".cc", ".inc"}


class Tree:
    """The sources under `root` and what they include. Files are named by their path from `root`."""

    def __init__(self, root: pathlib.Path):
        self.root = root.resolve()
        self.includes: dict[str, list[tuple[str, str | None]]] = {}  # file -> [(spelling, file or None)]
        self.text: dict[str, str] = {}
        for folder in (*BELOW, "tests"):
            for path in sorted((self.root / folder).rglob("*")):
                if path.suffix in SOURCES and path.is_file():
                    name = path.relative_to(self.root).as_posix()
                    self.text[name] = path.read_text(encoding="utf-8", errors="replace")
        for name, text in self.text.items():
            found = INCLUDE.findall(text)
            self.includes[name] = [(q or a, self._resolve(name, q) if q else None) for q, a in found]

    def _resolve(self, name: str, spelling: str) -> str | None:
        """The file that a quoted include means: beside the including file, else from the root."""
        for base in ((self.root / name).parent, self.root):
            path = (base / spelling).resolve()
            if path.is_relative_to(self.root) and path.relative_to(self.root).as_posix() in self.text:
                return path.relative_to(self.root).as_posix()
        return None

    def reached(self, name: str):
        """(file, spelling) of every header from outside that `name` includes, directly or not."""
        seen, todo = {name}, [name]
        while todo:
            file = todo.pop()
            for spelling, target in self.includes[file]:
                if target is None:
                    yield file, spelling
                elif target not in seen:
                    seen.add(target)
                    todo.append(target)

    def installed(self, name: str) -> bool:
        """The rule of cmake/ReelmLibrary.cmake."""
        folder = name.split("/")[0]
        return (name.endswith(".h") and folder in BELOW["pipeline"] | {"pipeline"}
                and not INTERNAL.match(name)
                and not re.search(r"^//.*Not installed", self.text[name], re.MULTILINE))


def through(file: str, name: str) -> str:
    return "" if file == name else f" through {file}"


def check_direction(tree: Tree, name: str):
    folder = name.split("/")[0]
    for spelling, target in tree.includes[name]:
        if target and folder != "tests":
            to = target.split("/")[0]
            if to != folder and to not in BELOW[folder]:
                yield f"back edge: {folder}/ may not include {to}/ ({spelling})"


def check_outside(tree: Tree, name: str):
    for file, spelling in tree.reached(name):
        for library, (headers, places) in OUTSIDE.items():
            if re.match(headers, spelling) and not re.fullmatch(places, name):
                yield f"{library} may not be included here: <{spelling}>{through(file, name)}"


def check_installed(tree: Tree, name: str):
    if not tree.installed(name):
        return
    for spelling, target in tree.includes[name]:
        if target is None:
            if NOT_IN_PUBLIC.match(spelling):
                yield f"an installed header includes {spelling}; say 'Not installed.' in its opening comment"
        elif not tree.installed(target):
            yield f"an installed header includes {target}, which is not installed"
        elif (tree.root / name).parent.joinpath(spelling).resolve() != tree.root / target:
            yield f"an installed header includes \"{spelling}\" from the root; must be relative to itself"


def check_isa(tree: Tree, name: str):
    if not ISA_FOLDER.match(name):
        return
    for file, spelling in tree.reached(name):
        if not ISA_SAFE.fullmatch(spelling):
            yield f"code inlined from <{spelling}>{through(file, name)} could escape the instruction set"


def violations(root: pathlib.Path) -> list[str]:
    tree = Tree(root)
    checks = (check_direction, check_outside, check_installed, check_isa)
    return [f"{name}: {problem}" for name in tree.includes for check in checks
            for problem in check(tree, name)]


def main() -> int:
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]
    found = violations(root)
    print("\n".join(found) or "no back edge", file=sys.stderr if found else sys.stdout)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
