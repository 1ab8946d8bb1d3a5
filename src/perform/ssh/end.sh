# given too: k, for how many fifths of a second the process may end by itself; e, whether nothing may start it later
if [ -n "$e" ]; then
  : > "$d/ended" || fail "cannot write in the folder $d"
fi
r=never
if [ -e "$d/pid" ]; then stop "$k"; fi
echo "$m $r"
exit 0
