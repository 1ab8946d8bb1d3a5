# given: so_n, the name of the process; so_m, the mark of our own lines
# our variables begin with so_, so that none of those that the command inherits is changed
so_all="$HOME/.local/state/signoff/processes"
so_d="$so_all/$so_n"
so_u=$(umask)
umask 077
fail() { echo "signoff: $*" >&2; exit 1; }
mkdir -p "$so_d" && true > "$so_d/process" || fail "cannot make the folder $so_d"

# which start of the machine this is; nothing where that is not known
boot() { cat /proc/sys/kernel/random/boot_id 2>/dev/null; }

# when a process was born: its id may be taken by another one later
born() {
  if [ -r "/proc/$1/stat" ]; then
    { read -r so_l < "/proc/$1/stat"; } 2>/dev/null || return 0
    set -- ${so_l##*) }
    echo "$(boot) ${20}"
  else
    ps -o lstart= -p "$1" 2>/dev/null
  fi
}

# whether a process group that leads its session has a member that is no zombie; one that we may not signal is there too
alive() {
  so_e=$(LC_ALL=C kill -0 "-$1" 2>&1) || case $so_e in
    *[Nn]"ot permitted"*) return 0 ;;
    *) return 1 ;;
  esac
  [ -r /proc/self/stat ] || return 0
  so_g=$1
  for so_f in /proc/[0-9]*/stat; do
    { read -r so_l < "$so_f"; } 2>/dev/null || continue
    set -- ${so_l##*) }
    if [ "$3" = "$so_g" ] && [ "$4" = "$so_g" ] && [ "$1" != Z ]; then return 0; fi
  done
  return 1
}

# waits until a group is gone, for so many fifths of a second
await() {
  so_i=$2
  while [ "$so_i" -gt 0 ] && alive "$1"; do
    sleep 0.2 2>/dev/null || sleep 1
    so_i=$((so_i - 1))
  done
}

# whether the group in the file is that of the process: not after another start of the machine, nor if its id was taken since
is_ours() {
  { read -r so_p; read -r so_s; } < "$1/pid"
  so_b=$(boot)
  if [ -n "$so_b" ] && [ "${so_s%% *}" != "$so_b" ]; then return 1; fi
  so_b=$(born "$so_p")
  if [ -n "$so_b" ] && [ "$so_b" != "$so_s" ]; then return 1; fi
  alive "$so_p"
}

# ends the group of the process, and says in so_r what came of it
stop() {
  if ! is_ours "$so_d"; then so_r=gone; return; fi
  kill -TERM "-$so_p" 2>/dev/null
  await "$so_p" "$1"
  if alive "$so_p"; then
    kill -KILL "-$so_p" 2>/dev/null
    await "$so_p" 25
  fi
  if alive "$so_p"; then so_r=left; else so_r=ended; fi
}
