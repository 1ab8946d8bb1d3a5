#!/bin/sh
# What was in use at the end of a program that benches/heaptrack.sh watched, in bytes, by who holds it.
set -eu
stacks=$(mktemp)
trap 'rm -f "$stacks"' EXIT
heaptrack_print --file "$1" --print-peaks 0 --print-allocators 0 --print-temporary 0 \
    --print-flamegraph "$stacks" --flamegraph-cost-type leaked > /dev/null 2>&1
# a line has the functions with their files, from the outermost on, and a number of bytes; the first kind that fits counts
awk '
function kind(stack) {
    if (stack ~ /(seen|rested|line_up) \(dispatch\.rs\)/ && stack ~ /rehash|push_back/) return "runs: a row each"
    if (stack ~ /put \(open\.rs\)/) return "open questions: a row each"
    if (stack ~ /touch \(queue\.rs\)/) return "questions to be judged"
    if (stack ~ /rustls|tls1[23]\.rs|hyper|http1\.rs|\((conn|io|client|handshake)\.rs\)/) return "connections"
    if (stack ~ /reflect|\((store|watcher)\.rs\)/) return "stores and watches"
    if (stack ~ /antlr|atn_|cel|regex|jsonschema|\(compiler\.rs\)/) return "compiled expressions and schemas"
    return "all else"
}
{ held[kind($0)] += $NF; all += $NF }
END {
    for (who in held) printf "%9d  %s\n", held[who], who
    printf "%9d  together\n", all
}' "$stacks" | sort -rn
