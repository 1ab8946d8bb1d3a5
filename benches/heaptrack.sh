#!/bin/sh
# Becomes the program it is given, watched by heaptrack, so that the benchmark can kill it. What is left in use at its end is in $SIGNOFF_PROFILE,
# for `heaptrack_print`.
set -eu
library=$(ls /usr/lib/heaptrack/libheaptrack_preload.so /usr/lib/*/heaptrack/libheaptrack_preload.so 2>/dev/null | head -n 1)
interpreter=$(ls /usr/lib/heaptrack/libexec/heaptrack_interpret /usr/lib/*/heaptrack/libexec/heaptrack_interpret 2>/dev/null | head -n 1)
# a process started anew has a profile of its own
profile="${SIGNOFF_PROFILE:-/tmp/signoff-heap}.$$.gz"
pipe=$(mktemp -u)
mkfifo "$pipe"
"$interpreter" < "$pipe" 2>/dev/null | gzip > "$profile" &
LD_PRELOAD="$library" DUMP_HEAPTRACK_OUTPUT="$pipe" exec "$@"
