"""LangChain and LangGraph: middleware that asks people before the tools that you name. Needs `langchain` 1.x."""

from collections.abc import Callable, Collection

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage

from signoff_guard import Guard, NotAllowed, Unavailable


class SignoffMiddleware(AgentMiddleware):
    """`create_agent(model, tools, middleware=[SignoffMiddleware(guard, {"delete_branch"})])`."""

    def __init__(self, guard: Guard, tools: Collection[str]):
        super().__init__()
        self.guard = guard
        self.guarded = frozenset(tools)

    def wrap_tool_call(self, request, handler: Callable):
        call = request.tool_call
        if call["name"] in self.guarded:
            try:
                self.guard.check(call["name"], call["args"], call["id"])
            except (NotAllowed, Unavailable) as refusal:
                # the model reads why, and goes on without the tool
                return ToolMessage(content=str(refusal), tool_call_id=call["id"], name=call["name"], status="error")
        return handler(request)
