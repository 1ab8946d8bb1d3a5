# the first process of a new session: it makes the file pid, whole and once, and becomes the command
d=$1; in=$2; C=$3; u=$4; m=$5; w=$6
born() {
  if [ -r "/proc/$1/stat" ]; then
    read -r l < "/proc/$1/stat"
    set -- ${l##*) }
    echo "$(cat /proc/sys/kernel/random/boot_id) ${20}"
  else
    ps -o lstart= -p "$1" 2>/dev/null
  fi
}
f="$d/new.$$"
{ echo "$$"; born "$$"; } > "$f"
ln "$f" "$d/pid" 2>/dev/null; c=$?
rm -f "$f"
if [ "$c" -ne 0 ] || [ -e "$d/ended" ]; then
  echo "signoff: the process was started or ended by somebody else" >&2
  exit 1
fi
umask "$u"
exec < "$in"
[ "$in" = /dev/null ] || rm -f "$in"
if [ -n "$w" ]; then
  echo "$m"; echo "$m" >&2
else
  exec > /dev/null 2>&1
fi
exec /bin/sh -c "$C"
