"""docs/media.md is true to the tests: every row names tests that exist, every clip of tests/media has a row.

usage: media_table_test.py
"""
import pathlib
import re
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
TABLE = SOURCE / "docs" / "media.md"


def known_tests():
    names = set()
    for path in (SOURCE / "tests").rglob("*_test.cc"):
        names |= {f"{suite}.{name}" for suite, name in
                  re.findall(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", path.read_text(), re.MULTILINE)}
    for path in (SOURCE / "tests" / "apps").glob("*_test.py"):
        suite = ""
        for line in path.read_text().splitlines():
            suite = (re.findall(r"^class (\w+)", line) or [suite])[0]
            names |= {f"{suite}.{name}" for name in re.findall(r"^    def (test_\w+)", line)}
    return names


def complaints(text):
    tests, clips = known_tests(), {path.name for path in (SOURCE / "tests" / "media").iterdir()}
    named = set()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or cells[0] == "kind" or set(cells[0]) == {"-"}:
            continue
        rows_tests = re.findall(r"`([A-Z]\w+\.\w+)`", cells[-1])
        if len(cells) != 4 or not rows_tests:
            yield f"'{cells[0]}' names no test"
        yield from (f"'{cells[0]}' names {name}, which is no test" for name in rows_tests if name not in tests)
        rows_clips = set(re.findall(r"`([^`]+)`", cells[2])) if len(cells) == 4 else set()
        yield from (f"'{cells[0]}' names {name}, which is not in tests/media" for name in rows_clips - clips)
        named |= rows_clips
    yield from (f"tests/media/{name} has no row" for name in sorted(clips - named))


def self_test():
    bad = "| nothing | happens | `none.mp4` | `No.Test` |\n| more | happens | | |\n"
    found = " ".join(complaints(bad))
    for word in ("No.Test, which is no test", "none.mp4, which is not", "'more' names no test", "groups.mp4 has no row"):
        assert word in found, word


def main():
    self_test()
    found = list(complaints(TABLE.read_text()))
    print("\n".join(f"docs/media.md: {line}" for line in found) or "docs/media.md: true")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
