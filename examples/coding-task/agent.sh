#!/bin/sh
# Stands in for a coding agent: reads the task, tells how far it is, and gives a result. Replace the middle by the agent's
# command line, such as `claude -p "$instructions"`, and by git.
set -eu
task=$(cat)
echo "::progress reads ${SIGNOFF_TASK}"
# a real agent reads .instructions and .input of the task here, for example with jq
words=$(printf '%s' "$task" | wc -w)
echo "::progress writes"
commit=0123456789abcdef0123456789abcdef01234567
printf '{"commit": "%s", "summary": "did a task of %s words"}\n' "$commit" "$((words))" > "$SIGNOFF_OUTPUT"
