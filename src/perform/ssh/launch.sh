# the first process of a new session: it makes the file pid, whole and once, and becomes the command. Its environment comes on
# standard input, and is set last, so that no variable of it changes what is done here
so_d=$1; so_in=$2; so_u=$3; so_m=$4; so_w=$5
born() {
  if [ -r "/proc/$1/stat" ]; then
    read -r so_l < "/proc/$1/stat"
    set -- ${so_l##*) }
    echo "$(cat /proc/sys/kernel/random/boot_id) ${20}"
  else
    ps -o lstart= -p "$1" 2>/dev/null
  fi
}
so_e=$(cat)
so_f="$so_d/new.$$"
{ echo "$$"; born "$$"; } > "$so_f"
ln "$so_f" "$so_d/pid" 2>/dev/null; so_c=$?
rm -f "$so_f"
if [ "$so_c" -ne 0 ] || [ -e "$so_d/ended" ]; then
  echo "signoff: the process was started or ended by somebody else" >&2
  exit 1
fi
umask "$so_u"
exec < "$so_in"
[ "$so_in" = /dev/null ] || rm -f "$so_in"
if [ -n "$so_w" ]; then
  echo "$so_m"; echo "$so_m" >&2
else
  exec > /dev/null 2>&1
fi
shift 5
eval "$so_e"
exec /bin/sh -c "$1"
