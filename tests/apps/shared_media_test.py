"""Every clip of a folder is answered with exit code 0, or refused with 1 and one line.

usage: shared_media_test.py REELM_PROGRAM FOLDER
"""
import pathlib
import subprocess
import sys

# Those with nothing to show; every other clip must be answered.
REFUSED = {"invalid-bitstream.webm", "invalid_userdata.mp4"}


def verdict(reelm, clip):
    """What is wrong with the answer or the refusal; None when nothing is."""
    done = subprocess.run([reelm, "ask", "--max-frames", "4", "--max-pixels", "12544", "--max-new-tokens", "8",
                           clip, "What happens in the video?"], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=240, check=False)
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    if clip.name in REFUSED:
        lines = [line for line in err.split("\n") if line]
        good = done.returncode == 1 and out == "" and len(lines) == 1 and lines[0].startswith("reelm: error: ")
        if good and clip.name in lines[0]:
            print(f"{clip.name}: refused: {lines[0]}")
            return None
    elif done.returncode == 0 and out.strip():
        print(f"{clip.name}: {out.strip()}")
        return None
    return f"{clip.name}: exit code {done.returncode}, answer {out!r}, errors {err!r}"


def main():
    reelm, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    clips = [path for path in sorted(folder.iterdir()) if path.suffix != ".md"]
    wrong = [found for found in (verdict(reelm, clip) for clip in clips) if found]
    print("\n".join(wrong) or f"{len(clips)} clips: as promised")
    sys.exit(1 if wrong or not clips else 0)


if __name__ == "__main__":
    main()
