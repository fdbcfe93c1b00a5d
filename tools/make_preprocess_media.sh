#!/bin/sh
# Remakes tests/media: tiny clips, one for each thing a video file may do to a reader. Needs ffmpeg
# with libx264, libx265 and libvpx, and python3. Other versions of the encoders make other bytes: remake
# tests/goldens/preprocess.json afterwards (tools/make_preprocess_goldens.py).
set -eu
cd "$(dirname "$0")/../tests/media"

clip() { # clip NAME SIZE SECONDS OUTPUT_OPTIONS...: a moving test picture at 30 frames a second
  name=$1 size=$2 seconds=$3
  shift 3
  ffmpeg -nostdin -v error -y -f lavfi -i "testsrc2=size=$size:rate=30:duration=$seconds" \
    -threads 1 -bitexact "$@" "$name"
}
x264="-c:v libx264 -preset veryslow -crf 30 -pix_fmt yuv420p -movflags +faststart"

# Three groups of 20 frames with B pyramids, the header first: seeking, truncation.
clip groups.mp4 96x64 2 $x264 -g 20 -keyint_min 20 -sc_threshold 0 -bf 3
clip range_full.mp4 64x48 0.2 -vf scale=out_range=full:out_color_matrix=bt601 $x264 \
  -color_range pc -colorspace smpte170m
clip matrix_709.mp4 64x48 0.2 -vf scale=out_range=limited:out_color_matrix=bt709 $x264 \
  -color_range tv -colorspace bt709
clip ten_bit.mp4 64x48 0.2 -c:v libx265 -crf 30 -pix_fmt yuv420p10le -tag:v hvc1 \
  -x265-params log-level=none:info=0:pools=1 -movflags +faststart
clip odd.webm 64x48 0.2 -vf scale=65:49 -c:v libvpx-vp9 -crf 40 -b:v 0 -pix_fmt yuv420p
clip wide_row.mp4 84x48 0.2 $x264
# Alternate references: packets that show nothing, and no frame count in the container.
clip hidden.webm 96x64 2 -c:v libvpx -crf 30 -b:v 100k -auto-alt-ref 1 -lag-in-frames 16
clip no_count.mkv 64x48 1 -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p
clip one_frame.mp4 64x48 0.033 $x264
clip open_group.ts 64x48 1.5 -c:v mpeg2video -q:v 12 -g 9 -bf 2 -sc_threshold 1000000000
# No display times, although frames are reordered.
clip reordered.avi 64x48 0.5 -c:v mpeg4 -q:v 16 -bf 2 -g 12
clip pictures.gif 48x32 0.4 -vf fps=10
# Frames 0..9 a thirtieth apart, then 10 more a third apart.
clip varying.mp4 64x48 0.667 -vf "setpts='if(lt(N,10),N/30,(10/30)+(N-10)/3)/TB'" -fps_mode vfr \
  $x264 -bf 0 -video_track_timescale 3000

# Display matrices: 16.16 numbers a b u c d v x y w in the track header.
python3 - <<'PYTHON'
import struct

source = open("wide_row.mp4", "rb").read()
track = source.index(b"tkhd") + 4 + 4 + 8 + 4 + 4 + 4 + 8 + 2 + 2 + 2 + 2  # to the matrix
assert struct.unpack(">9i", source[track:track + 36])[0] == 1 << 16
for name, a, b, c, d in (("turned_90", 0, 1, -1, 0), ("turned_180", -1, 0, 0, -1),
                         ("turned_270", 0, -1, 1, 0), ("mirrored", -1, 0, 0, 1),
                         ("mirrored_90", 0, -1, -1, 0)):
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    open(name + ".mp4", "wb").write(source[:track] + matrix + source[track + 36:])
PYTHON
ls -l
