#!/usr/bin/env python3
"""Claude Code: a PreToolUse hook that asks people before a tool is used. Needs no packages.

In .claude/settings.json, with a timeout that is longer than the flow waits:

    {"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [
        {"type": "command", "command": "python3 clients/claude_code_hook.py", "timeout": 4000}]}]}}
"""

import json
import sys

from signoff_guard import Guard, NotAllowed, Unavailable


def answer(decision: str, reason: str) -> dict:
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": decision,
            "permissionDecisionReason": reason,
        }
    }


def main() -> int:
    try:
        call = json.load(sys.stdin)
        tool, arguments = call["tool_name"], call["tool_input"]
        call_id = f"{call['session_id']}/{call['tool_use_id']}"
        comment = Guard.from_environment("claude-code").check(tool, arguments, call_id)
    except (NotAllowed, Unavailable) as refusal:
        print(json.dumps(answer("deny", str(refusal))))
        return 0
    except (ValueError, KeyError, TypeError) as error:
        # exit code 2 blocks the call, and the model reads why
        print(f"the call cannot be read: {error!r}", file=sys.stderr)
        return 2
    print(json.dumps(answer("allow", comment or "people allowed it")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
