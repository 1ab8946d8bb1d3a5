# given: n, the name of the process; m, the mark of our own lines
d="$HOME/.signoff/$n"
u=$(umask)
umask 077
fail() { echo "signoff: $*" >&2; exit 1; }
mkdir -p "$d" || fail "cannot make the folder $d"

# when a process was born: its id may be taken by another one later
born() {
  if [ -r "/proc/$1/stat" ]; then
    { read -r l < "/proc/$1/stat"; } 2>/dev/null || return 0
    set -- ${l##*) }
    echo "$(cat /proc/sys/kernel/random/boot_id) ${20}"
  else
    ps -o lstart= -p "$1" 2>/dev/null
  fi
}

# whether a process group has a member that is no zombie
alive() {
  kill -0 "-$1" 2>/dev/null || return 1
  [ -r /proc/self/stat ] || return 0
  g=$1
  for f in /proc/[0-9]*/stat; do
    { read -r l < "$f"; } 2>/dev/null || continue
    set -- ${l##*) }
    if [ "$3" = "$g" ] && [ "$1" != Z ]; then return 0; fi
  done
  return 1
}

# waits until a group is gone, for so many fifths of a second
await() {
  i=$2
  while [ "$i" -gt 0 ] && alive "$1"; do
    sleep 0.2 2>/dev/null || sleep 1
    i=$((i - 1))
  done
}

# ends the group of the process, and says in r what came of it
stop() {
  { read -r p; read -r s; } < "$d/pid"
  b=$(born "$p")
  if [ -n "$b" ] && [ "$b" != "$s" ]; then r=gone; return; fi
  if ! alive "$p"; then r=gone; return; fi
  kill -TERM "-$p" 2>/dev/null
  await "$p" "$1"
  if alive "$p"; then
    kill -KILL "-$p" 2>/dev/null
    await "$p" 25
  fi
  if alive "$p"; then r=left; else r=ended; fi
}
