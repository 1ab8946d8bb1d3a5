"""Tests of the clients without a network: a stand-in for the API server, and stand-in models.

    python3 -m unittest discover -s examples/agents/clients

Tests of a framework that is not installed are skipped, and say so. SIGNOFF_REQUIRE_FRAMEWORKS=1 makes that a failure.
"""

import asyncio
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

from signoff_guard import Guard, NotAllowed, Unavailable, run_name  # noqa: E402


def needs(package: str):
    missing = importlib.util.find_spec(package) is None
    if missing and os.environ.get("SIGNOFF_REQUIRE_FRAMEWORKS"):
        raise ImportError(f"{package} is not installed")
    return unittest.skipIf(missing, f"{package} is not installed")


class StandIn:
    """An API server with one flow, whose people answer as a test says."""

    def __init__(self, outcome="Approved", comment="fine", change=None, phase="Succeeded"):
        self.runs, self.created, self.tokens = {}, 0, set()
        self.outcome, self.comment, self.change, self.phase = outcome, comment, change, phase
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                run = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                stand_in.tokens.add(self.headers["Authorization"])
                name = run["metadata"]["name"]
                known = name in stand_in.runs
                if not known:
                    stand_in.runs[name], stand_in.created = run, stand_in.created + 1
                self.reply(409 if known else 201, run)

            def do_GET(self):
                run = stand_in.runs.get(self.path.rsplit("/", 1)[1])
                self.reply(404 if run is None else 200, stand_in.answered(run) if run else {})

            def reply(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answered(self, run):
        inputs = run["spec"]["inputs"]
        call = {"tool": inputs["tool"], "arguments": inputs["arguments"]}
        output = {
            "allowed": self.outcome == "Approved",
            "outcome": self.outcome,
            "call": call if self.change is None else self.change,
            "comment": self.comment,
        }
        return {**run, "status": {"phase": self.phase, "output": output}}

    def guard(self, **more):
        return Guard(self.url, "secret", "shop", "assistant", poll=0.01, **more)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class GuardTest(unittest.TestCase):
    def test_an_approved_call_is_allowed_and_asked_for_once(self):
        with StandIn() as people:
            for _ in range(2):
                self.assertEqual(people.guard().check("rm", {"path": "/tmp/x"}, "1"), "fine")
            self.assertEqual(people.created, 1)
            self.assertEqual(people.tokens, {"Bearer secret"})

    def test_a_no_and_no_answer_are_not_allowed_and_say_why(self):
        for outcome in ("Rejected", "TimedOut"):
            with StandIn(outcome, "never") as people, self.assertRaisesRegex(NotAllowed, f"{outcome}.*never"):
                people.guard().check("rm", {}, "1")

    def test_an_answer_to_another_call_allows_nothing(self):
        with StandIn(change={"tool": "rm", "arguments": {"path": "/tmp"}}) as people:
            with self.assertRaisesRegex(Unavailable, "another call"):
                people.guard().check("rm", {"path": "/"}, "1")

    def test_a_run_of_another_flow_or_release_under_the_same_name_allows_nothing(self):
        for spec in ({"flow": "mine"}, {"flow": "tool-call", "channel": "Draft"}, {"flow": "tool-call", "release": "tool-call-0"}):
            with StandIn() as people:
                inputs = {"agent": "assistant", "tool": "rm", "arguments": {}}
                people.runs[run_name("tool-call", "assistant/1")] = {"spec": {**spec, "inputs": inputs}}
                with self.assertRaisesRegex(Unavailable, "not one of the live flow"):
                    people.guard().check("rm", {}, "1")

    def test_a_run_that_broke_or_a_server_that_is_away_allows_nothing(self):
        with StandIn(phase="Failed") as people, self.assertRaises(Unavailable):
            people.guard().check("rm", {}, "1")
        with StandIn() as people:
            url = people.url
        with self.assertRaises(Unavailable):
            Guard(url, "secret", "shop", "assistant").check("rm", {}, "1")

    def test_a_question_that_stays_open_allows_nothing(self):
        with StandIn(phase="Waiting") as people, self.assertRaisesRegex(Unavailable, "in time"):
            people.guard(patience=0.05).check("rm", {}, "1")

    def test_names_of_runs_are_names(self):
        for flow in ("tool-call", "a" * 52, "a." * 25 + "a"):
            name = run_name(flow, "x")
            self.assertLessEqual(len(name), 63)
            self.assertRegex(name, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        self.assertNotEqual(run_name("f", "a"), run_name("f", "b"))


class ClaudeCodeTest(unittest.TestCase):
    def hook(self, people, message):
        environment = {**os.environ, "SIGNOFF_SERVER": people.url, "SIGNOFF_TOKEN": "secret"}
        hook = [sys.executable, str(HERE / "claude_code_hook.py")]
        return subprocess.run(hook, input=message, text=True, capture_output=True, env=environment, check=False)

    def test_the_hook_allows_what_people_allow_and_denies_the_rest(self):
        call = json.dumps({"session_id": "s", "tool_use_id": "t", "tool_name": "Bash", "tool_input": {"command": "ls"}})
        for outcome, decision in (("Approved", "allow"), ("Rejected", "deny")):
            with StandIn(outcome) as people:
                ended = self.hook(people, call)
                self.assertEqual(ended.returncode, 0, ended.stderr)
                self.assertEqual(json.loads(ended.stdout)["hookSpecificOutput"]["permissionDecision"], decision)

    def test_a_call_that_cannot_be_read_is_blocked(self):
        with StandIn() as people:
            for message in ("", "{}", '{"tool_name": "Bash"}'):
                self.assertEqual(self.hook(people, message).returncode, 2)


@needs("langchain")
class LangChainTest(unittest.TestCase):
    def play(self, outcome):
        from langchain.agents import create_agent
        from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
        from langchain_core.messages import AIMessage
        from langchain_core.tools import tool

        from langchain_guard import SignoffMiddleware

        deleted = []

        @tool
        def delete_branch(name: str) -> str:
            """Delete a branch."""
            deleted.append(name)
            return "deleted"

        class Model(GenericFakeChatModel):
            def bind_tools(self, tools, **_):
                return self

        call = {"name": "delete_branch", "args": {"name": "old"}, "id": "call-1", "type": "tool_call"}
        model = Model(messages=iter([AIMessage(content="", tool_calls=[call]), AIMessage(content="done")]))
        with StandIn(outcome, "because") as people:
            guard = SignoffMiddleware(people.guard(), {"delete_branch"})
            agent = create_agent(model, [delete_branch], middleware=[guard])
            messages = agent.invoke({"messages": [("user", "delete it")]})["messages"]
            return deleted, messages[-2].content, people

    def test_a_tool_runs_only_after_people_allowed_it(self):
        deleted, told, people = self.play("Approved")
        self.assertEqual((deleted, told), (["old"], "deleted"))
        (run,) = people.runs.values()
        self.assertEqual(run["spec"]["inputs"]["arguments"], {"name": "old"})

    def test_a_no_is_what_the_model_reads(self):
        deleted, told, _ = self.play("Rejected")
        self.assertEqual(deleted, [])
        self.assertIn("because", told)


@needs("agents")
class OpenAIAgentsTest(unittest.TestCase):
    def play(self, outcome):
        from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage, function_tool
        from openai.types.responses import (
            ResponseFunctionToolCall,
            ResponseOutputMessage,
            ResponseOutputText,
        )

        from openai_agents_guard import guarded

        deleted, seen = [], []

        @function_tool
        def delete_branch(name: str) -> str:
            """Delete a branch."""
            deleted.append(name)
            return "deleted"

        class StandInModel(Model):
            async def get_response(self, *args, **more):
                given = args[1] if len(args) > 1 else more["input"]
                answers = [] if isinstance(given, str) else [item for item in given if item.get("type") == "function_call_output"]
                seen.extend(item["output"] for item in answers)
                if answers:
                    text = ResponseOutputText(text="done", type="output_text", annotations=[])
                    item = ResponseOutputMessage(id="m", content=[text], role="assistant", status="completed", type="message")
                else:
                    item = ResponseFunctionToolCall(
                        call_id="call-1", name="delete_branch", arguments='{"name": "old"}', type="function_call"
                    )
                return ModelResponse(output=[item], usage=Usage(), response_id=None)

            def stream_response(self, *args, **more):
                raise NotImplementedError

        with StandIn(outcome, "because") as people:
            agent = Agent("a", model=StandInModel(), tools=[guarded(delete_branch, people.guard())])
            config = RunConfig(tracing_disabled=True)
            asyncio.run(Runner.run(agent, "delete it", run_config=config))
            return deleted, seen[-1]

    def test_a_tool_runs_only_after_people_allowed_it(self):
        self.assertEqual(self.play("Approved"), (["old"], "deleted"))

    def test_a_no_is_what_the_model_reads(self):
        deleted, told = self.play("Rejected")
        self.assertEqual(deleted, [])
        self.assertIn("because", told)


if __name__ == "__main__":
    unittest.main()
