# given too: so_C, the command; so_L, what the new session does; so_w, whether the end is waited for; so_n_in, the length of
# standard input or nothing; so_D, the directory or nothing; so_E, what exports the variables of the environment
command -v setsid > /dev/null 2>&1 || fail "there is no setsid on the host"
[ ! -e "$so_d/ended" ] || fail "the process was to end before it was started"
if [ -n "$so_w" ] || [ ! -e "$so_d/pid" ]; then
  so_in=/dev/null
  if [ -n "$so_n_in" ]; then
    so_in="$so_d/in.$$"
    cat > "$so_in"
    [ "$(wc -c < "$so_in")" -eq "$so_n_in" ] || { rm -f "$so_in"; fail "standard input was cut off"; }
  fi
  if [ -n "$so_w" ] && [ -e "$so_d/pid" ]; then
    stop 25
    [ "$so_r" != left ] || fail "the process of an earlier attempt could not be ended"
    rm -f "$so_d/pid"
  fi
  if [ -n "$so_D" ]; then
    cd -- "$so_D" || { [ "$so_in" = /dev/null ] || rm -f "$so_in"; fail "cannot change to the directory of the Connection"; }
  fi
  # the pipe keeps the environment out of the list of processes
  if [ -n "$so_w" ]; then
    printf '%s' "$so_E" | setsid /bin/sh -c "$so_L" signoff "$so_d" "$so_in" "$so_u" "$so_m" "$so_w" "$so_C"
    so_x=$?
    # what the command has left running is found again
    [ -e "$so_d/ended" ] || { [ -e "$so_d/pid" ] && is_ours "$so_d"; } || rm -rf -- "$so_d"
    exit "$so_x"
  fi
  # what is read here ends when the new process has let go of it
  if setsid -f true 2> /dev/null; then
    : "$(printf '%s' "$so_E" | setsid -f /bin/sh -c "$so_L" signoff "$so_d" "$so_in" "$so_u" "$so_m" "" "$so_C" 2>&1)"
  else
    : "$(printf '%s' "$so_E" | { exec 3<&0
      setsid /bin/sh -c "$so_L" signoff "$so_d" "$so_in" "$so_u" "$so_m" "" "$so_C" <&3 3<&- 2>&1 & })"
  fi
fi
[ ! -e "$so_d/ended" ] || fail "the process was to end before it was started"
[ -e "$so_d/pid" ] || fail "the process could not be started"
{ read -r so_p; } < "$so_d/pid"
echo "$so_m $so_p"
# folders of processes that are long gone
find "$so_all" -mindepth 1 -maxdepth 1 -type d -mtime +30 2> /dev/null | while read -r so_o; do
  [ -e "$so_o/process" ] && [ "$so_o" != "$so_d" ] || continue
  if [ -e "$so_o/pid" ] && is_ours "$so_o"; then continue; fi
  rm -rf -- "$so_o"
done
exit 0
