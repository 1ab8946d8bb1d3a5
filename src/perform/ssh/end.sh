# given too: so_k, for how many fifths of a second the process may end by itself; so_o, whether nothing may start it later
if [ -n "$so_o" ]; then
  true > "$so_d/ended" || fail "cannot write in the folder $so_d"
fi
so_r=none
if [ -e "$so_d/pid" ]; then stop "$so_k"; fi
echo "$so_m $so_r"
exit 0
