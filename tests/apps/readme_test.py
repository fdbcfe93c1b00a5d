"""README.md lists exactly the model families that this build opens.

usage: readme_test.py REELM_PROGRAM SOURCE_DIR
"""
import pathlib
import subprocess
import sys


def main(program, source):
    table = subprocess.run([program, "info", "--families"], capture_output=True, text=True, check=True).stdout
    readme = (pathlib.Path(source) / "README.md").read_text()
    rows = [line for line in table.splitlines() if "(`" in line]
    if len(rows) < 3:  # the head is one of them
        sys.exit(f"reelm info --families prints no table:\n{table}")
    if f"\n\n{table}\n" not in readme:
        sys.exit(f"README.md, Models: the table is to be\n{table}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
