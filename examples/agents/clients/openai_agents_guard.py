"""OpenAI Agents SDK: a tool that asks people before it runs. Needs `openai-agents`."""

import asyncio
import json
from dataclasses import replace

from agents import FunctionTool

from signoff_guard import Guard, NotAllowed, Unavailable


def guarded(tool: FunctionTool, guard: Guard) -> FunctionTool:
    """The same tool, behind the guard: `Agent(tools=[guarded(delete_branch, guard)])`."""
    invoke = tool.on_invoke_tool

    async def ask_first(context, arguments: str):
        try:
            call = json.loads(arguments or "{}")
            await asyncio.to_thread(guard.check, tool.name, call, context.tool_call_id)
        except (NotAllowed, Unavailable) as refusal:
            # the model reads why, and goes on without the tool
            return str(refusal)
        return await invoke(context, arguments)

    return replace(tool, on_invoke_tool=ask_first)
