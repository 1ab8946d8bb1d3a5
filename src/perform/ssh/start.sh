# given too: C, the command; L, what the new session does; w, whether the end is waited for; b, the length of standard input or
# nothing; D, the directory or nothing; environment, which exports variables
command -v setsid > /dev/null 2>&1 || fail "there is no setsid on the host"
[ ! -e "$d/ended" ] || fail "the process was to end before it was started"
if [ -n "$w" ] || [ ! -e "$d/pid" ]; then
  in=/dev/null
  if [ -n "$b" ]; then
    in="$d/in.$$"
    cat > "$in"
    [ "$(wc -c < "$in")" -eq "$b" ] || { rm -f "$in"; fail "standard input was cut off"; }
  fi
  if [ -n "$w" ] && [ -e "$d/pid" ]; then
    stop 25
    [ "$r" != left ] || fail "the process of an earlier attempt could not be ended"
    rm -f "$d/pid"
  fi
  if [ -n "$D" ]; then
    cd -- "$D" || { [ "$in" = /dev/null ] || rm -f "$in"; fail "cannot change to the directory of the Connection"; }
  fi
  if [ -n "$w" ]; then
    (environment; setsid /bin/sh -c "$L" signoff "$d" "$in" "$C" "$u" "$m" "$w")
    x=$?
    [ -e "$d/ended" ] || rm -rf -- "$d"
    exit "$x"
  fi
  # what is read here ends when the new process has let go of it
  if setsid -f true 2> /dev/null; then
    (environment; : "$(setsid -f /bin/sh -c "$L" signoff "$d" "$in" "$C" "$u" "$m" "" 2>&1)")
  else
    (environment; : "$(setsid /bin/sh -c "$L" signoff "$d" "$in" "$C" "$u" "$m" "" 2>&1 &)")
  fi
fi
[ ! -e "$d/ended" ] || fail "the process was to end before it was started"
[ -e "$d/pid" ] || fail "the process could not be started"
{ read -r p; } < "$d/pid"
echo "$m $p"
# folders of processes that are long gone
find "$HOME/.signoff" -mindepth 1 -maxdepth 1 -type d -mtime +30 2> /dev/null | while read -r o; do
  if [ -e "$o/pid" ]; then
    { read -r p; } < "$o/pid"
    if alive "$p"; then continue; fi
  fi
  [ "$o" = "$d" ] || rm -rf -- "$o"
done
exit 0
