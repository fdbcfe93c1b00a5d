#!/bin/sh
# Remakes tests/media: tiny clips, one for each thing a video file may do to a reader (docs/media.md is the
# table of them). Needs ffmpeg with libx264, libx265 and libvpx, and a python3 (or $PYTHON) with Pillow. Other versions of the
# encoders make other bytes: remake tests/goldens/preprocess.json afterwards (tools/make_preprocess_goldens.py).
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

# Colour. testsrc2 is RGB; the scaler converts it as the tags say.
coloured() { # coloured NAME RANGE MATRIX TRANSFER OPTIONS...: HEVC of 10 bits with those tags
  name=$1 range=$2 matrix=$3 transfer=$4
  shift 4
  clip "$name" 64x48 0.1 -vf "scale=out_range=$range:out_color_matrix=$matrix" "$@" \
    -color_range "$range" -colorspace "$matrix" -color_trc "$transfer" -color_primaries bt2020
}
x265="-c:v libx265 -crf 30 -tag:v hvc1 -movflags +faststart -x265-params log-level=none:info=0:pools=1"
clip limited_601.mp4 64x48 0.1 -vf scale=out_range=limited:out_color_matrix=bt601 $x264 \
  -color_range tv -colorspace smpte170m
coloured bt2020.mp4 tv bt2020nc bt2020-10 $x265 -pix_fmt yuv420p10le
coloured hdr_pq.mp4 tv bt2020nc smpte2084 $x265 -pix_fmt yuv420p10le
coloured hdr_hlg.mp4 tv bt2020nc arib-std-b67 $x265 -pix_fmt yuv420p10le
for format in yuv422p yuv444p yuv422p10le yuv444p10le yuv420p12le yuv422p12le yuv444p12le; do
  clip "$format.mp4" 64x48 0.1 $x265 -pix_fmt "$format"
done
clip rgb.mp4 64x48 0.1 -c:v libx264rgb -preset veryslow -crf 30
clip grey.mp4 64x48 0.1 $x264 -pix_fmt gray
clip full_by_format.avi 64x48 0.1 -c:v mjpeg -q:v 20 -pix_fmt yuvj420p
see_through="format=rgba,colorchannelmixer=aa=0.5"
clip alpha.webm 64x48 0.1 -vf "$see_through" -c:v libvpx-vp9 -crf 50 -b:v 0 -pix_fmt yuva420p
clip alpha.mov 32x24 0.1 -vf "$see_through" -c:v png -pix_fmt rgba
clip moving.apng 32x24 0.2 -vf "$see_through" -c:v apng -f apng -plays 0
clip interlaced.mp4 64x48 0.2 $x264 -flags +ilme+ildct -x264-params tff=1

# Shapes.
clip aspect_wide.mp4 64x48 0.1 -vf setsar=2/1 $x264
clip aspect_tall.mkv 64x48 0.1 -vf setsar=2/3 -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p
clip pixel.webm 64x48 0.1 -vf scale=1:1 -c:v libvpx-vp9 -crf 40 -b:v 0 -pix_fmt yuv420p
clip column.webm 64x48 0.1 -vf scale=1:100 -c:v libvpx-vp9 -crf 40 -b:v 0 -pix_fmt yuv420p
clip thin.webm 64x48 0.1 -vf scale=402:2 -c:v libvpx-vp9 -crf 40 -b:v 0 -pix_fmt yuv420p
clip five_frames.mp4 64x48 0.166 $x264

# Groups that decode only with what comes before them, or in another order than they are shown.
clip open_group.mp4 64x48 1.5 -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p \
  -x264-params open-gop=1:keyint=15:min-keyint=15:scenecut=0:bframes=7:b-pyramid=normal
clip many_open_groups.mp4 32x24 5 -c:v libx264 -preset veryslow -crf 38 -pix_fmt yuv420p \
  -x264-params open-gop=1:keyint=15:min-keyint=15:scenecut=0:bframes=7:b-pyramid=normal
clip open_group_hevc.mkv 64x48 1.5 -c:v libx265 -crf 34 -pix_fmt yuv420p \
  -x265-params log-level=none:info=0:pools=1:open-gop=1:keyint=15:min-keyint=15:scenecut=0:bframes=7
# The same in transport streams, with the headers of the stream in each group: recordings that can be cut and joined.
clip open_group_h264.ts 64x48 1 -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p \
  -x264-params open-gop=1:keyint=15:min-keyint=15:scenecut=0:bframes=7:b-pyramid=normal
clip open_group_hevc.ts 64x48 1 -c:v libx265 -crf 22 -pix_fmt yuv420p \
  -x265-params log-level=none:info=0:pools=1:open-gop=1:keyint=15:min-keyint=15:scenecut=0:bframes=7

# Containers.
clip header_last.mp4 64x48 0.5 -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p
clip fragmented.mp4 64x48 1 -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p -g 10 \
  -movflags +frag_keyframe+empty_moov+default_base_moof
clip raw.h264 64x48 0.5 -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p -f h264
ffmpeg -nostdin -v error -y -f lavfi -i "sine=duration=0.2" -bitexact -c:a aac -b:a 16k sound_only.m4a
ffmpeg -nostdin -v error -y -i sound_only.m4a -f lavfi -i "testsrc2=size=32x24:rate=1:duration=1" \
  -map 0 -map 1 -bitexact -c:a copy -c:v mjpeg -q:v 20 -pix_fmt yuvj420p -frames:v 1 \
  -disposition:v attached_pic cover_only.m4a
ffmpeg -nostdin -v error -y -i header_last.mp4 -i cover_only.m4a -map 1:v -map 0:v -bitexact -c copy \
  -disposition:v:0 attached_pic -disposition:v:1 default cover.mp4
ffmpeg -nostdin -v error -y -i no_count.mkv -i groups.mp4 -map 0:v -map 1:v -bitexact -c copy \
  -disposition:v 0 two_streams.mkv

# Times.
copy() { # copy FROM TO OPTIONS...: the same packets, written otherwise
  from=$1 to=$2
  shift 2
  ffmpeg -nostdin -v error -y -i "$from" -bitexact -c copy "$@" "$to"
}
ffmpeg -nostdin -v error -y -ss 0.8 -i groups.mp4 -bitexact -c copy edit_list.mp4
# The clock of 33 bits wraps a third of a second after the first frame: times from below zero.
clip start_negative.ts 64x48 0.5 -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p -bf 0 \
  -muxdelay 0 -muxpreload 0 -output_ts_offset 95443.384
copy no_count.mkv start_late.mkv -output_ts_offset 100 -avoid_negative_ts disabled
clip missing.mpg 64x48 1 -c:v mpeg1video -q:v 16 -bf 2 -g 12
copy groups.mp4 duplicates.mkv -t 0.6 -bsf:v "setts=pts='PTS-mod(PTS,67)':dts=DTS-200"
clip forward.mkv 64x48 0.5 -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p -bf 0
copy forward.mkv swapped.mkv -bsf:v "setts=pts='PTS+if(eq(mod(N,3),1),67,0)':dts=DTS-100"
clip first.ts 64x48 0.4 -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p
clip second.ts 96x64 0.4 -vf negate -c:v libx264 -preset veryslow -crf 34 -pix_fmt yuv420p \
  -output_ts_offset 0.5
cat first.ts second.ts >sizes.ts
cat first.ts first.ts >jump_back.ts
copy header_last.mp4 reordered.mp4 -use_editlist 0
rm first.ts second.ts forward.mkv

# Display matrices: 16.16 numbers a b u c d v x y w in the track header.
"${PYTHON:-python3}" - <<'PYTHON'
import os
import struct

source = open("wide_row.mp4", "rb").read()
track = source.index(b"tkhd") + 4 + 4 + 8 + 4 + 4 + 4 + 8 + 2 + 2 + 2 + 2  # to the matrix
assert struct.unpack(">9i", source[track:track + 36])[0] == 1 << 16
for name, a, b, c, d in (("turned_90", 0, 1, -1, 0), ("turned_180", -1, 0, 0, -1),
                         ("turned_270", 0, -1, 1, 0), ("mirrored", -1, 0, 0, 1),
                         ("mirrored_90", 0, -1, -1, 0), ("mirrored_180", 1, 0, 0, -1),
                         ("mirrored_270", 0, 1, 1, 0)):
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    open(name + ".mp4", "wb").write(source[:track] + matrix + source[track + 36:])

# A display matrix beside pixels that are not square.
source = open("aspect_wide.mp4", "rb").read()
track = source.index(b"tkhd") + 44
matrix = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
open("aspect_turned.mp4", "wb").write(source[:track] + matrix + source[track + 36:])

# No table of display times, although frames are reordered.
open("no_display_times.mp4", "wb").write(open("reordered.mp4", "rb").read().replace(b"ctts", b"free"))
os.remove("reordered.mp4")

# A header that promises a thousand frames a second: DefaultDuration (0x23e383, 4 bytes of nanoseconds).
source = open("no_count.mkv", "rb").read()
at = source.index(b"\x23\xe3\x83\x84") + 4
open("wrong_rate.mkv", "wb").write(source[:at] + struct.pack(">I", 1000000) + source[at + 4:])

import PIL.Image
import PIL.ImageDraw

# A disc that moves over a transparent ground, with frames of several lengths.
frames = []
for i in range(6):
    frames.append(PIL.Image.new("RGBA", (40, 30), (0, 0, 0, 0)))
    PIL.ImageDraw.Draw(frames[-1]).ellipse((5 * i, 8, 5 * i + 11, 19), (200, 20 * i, 60, 255 - 30 * i))
frames[0].save("moving.webp", save_all=True, append_images=frames[1:], lossless=True, loop=0,
               duration=[100, 100, 50, 50, 200, 100])
PYTHON
ls -l
