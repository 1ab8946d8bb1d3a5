"""Ask people before a tool is called: a client of the flow `tool-call`, without further packages.

It talks to the Kubernetes API with the token of the agent. The same in words: create a Run with the exact call, watch it
until it has ended, and call the tool only if its output allows this very call.
"""

import hashlib
import json
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

ENDED = {"Succeeded", "Failed", "Rejected", "TimedOut", "Cancelled"}


class NotAllowed(Exception):
    """People did not allow the call, or nobody answered. The message is for the model."""


class Unavailable(Exception):
    """It is not known whether the call is allowed. So it is not made."""


@dataclass(frozen=True)
class Guard:
    """Where people are asked, and as whom.

    `server` is the address of the API server, `token` that of the agent's service account, `ca` a file with the certificate
    authority of the server. `agent` is what people are told who wants to call the tool.
    """

    server: str
    token: str
    namespace: str
    agent: str
    ca: str | None = None
    flow: str = "tool-call"
    patience: float = 3900.0
    poll: float = 2.0

    @staticmethod
    def from_environment(agent: str) -> "Guard":
        """From SIGNOFF_SERVER, SIGNOFF_TOKEN, SIGNOFF_NAMESPACE, SIGNOFF_CA, or the service account of a pod."""
        pod = "/var/run/secrets/kubernetes.io/serviceaccount"

        def read(name: str) -> str | None:
            path = os.path.join(pod, name)
            if not os.path.exists(path):
                return None
            with open(path, encoding="utf-8") as file:
                return file.read().strip()

        ca = os.path.join(pod, "ca.crt")
        return Guard(
            server=os.environ.get("SIGNOFF_SERVER", "https://kubernetes.default.svc"),
            token=os.environ.get("SIGNOFF_TOKEN") or read("token") or "",
            namespace=os.environ.get("SIGNOFF_NAMESPACE") or read("namespace") or "default",
            agent=agent,
            ca=os.environ.get("SIGNOFF_CA") or (ca if os.path.exists(ca) else None),
        )

    def check(self, tool: str, arguments: dict, call_id: str, reason: str = "not given") -> str:
        """Returns the comment of whoever allowed the call. Raises NotAllowed or Unavailable in every other case.

        `call_id` names this call among all calls of the agent. Asking again with the same one finds the same question.
        """
        name = run_name(self.flow, f"{self.agent}/{call_id}")
        inputs = {"agent": self.agent, "tool": tool, "arguments": arguments, "reason": reason}
        self._start(name, inputs)
        output = self._wait(name)
        # never the call that the model says was allowed, but the one that people saw
        if output.get("call") != {"tool": tool, "arguments": arguments}:
            raise Unavailable(f"run {name} is about another call")
        if output.get("allowed") is not True:
            comment = output.get("comment") or "no comment"
            raise NotAllowed(f"{tool} was not allowed ({output.get('outcome')}): {comment}")
        return output.get("comment") or ""

    def _start(self, name: str, inputs: dict) -> None:
        run = {
            "apiVersion": "signoff.dev/v1alpha1",
            "kind": "Run",
            "metadata": {"name": name},
            "spec": {"flow": self.flow, "inputs": inputs},
        }
        status, _ = self._request("POST", "runs", run)
        # 409: it was started before, and what it is about is checked at its end
        if status not in (201, 409):
            raise Unavailable(f"people could not be asked: {status}")

    def _wait(self, name: str) -> dict:
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            status, run = self._request("GET", f"runs/{name}")
            if status == 200:
                # somebody else may have started another run under this name
                spec = run.get("spec") or {}
                if spec.get("flow") != self.flow or spec.get("release") or spec.get("channel", "Live") != "Live":
                    raise Unavailable(f"run {name} is not one of the live flow {self.flow}")
                state = run.get("status") or {}
                if state.get("phase") == "Succeeded":
                    return state.get("output") or {}
                if state.get("phase") in ENDED:
                    raise Unavailable(f"run {name} ended as {state['phase']}")
            elif status < 500 and status != 429:
                raise Unavailable(f"run {name} cannot be read: {status}")
            time.sleep(self.poll)
        raise Unavailable(f"run {name} has not ended in time")

    def _request(self, method: str, path: str, body: dict | None = None) -> tuple[int, dict]:
        base = f"{self.server}/apis/signoff.dev/v1alpha1/namespaces/{self.namespace}"
        request = urllib.request.Request(
            f"{base}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        tls = ssl.create_default_context(cafile=self.ca) if self.server.startswith("https") else None
        try:
            with urllib.request.urlopen(request, timeout=30, context=tls) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, {}
        except OSError as error:
            raise Unavailable(f"the API server cannot be reached: {error}") from error


def run_name(flow: str, call_id: str) -> str:
    """A name of a Run that follows from the call."""
    digest = hashlib.sha256(f"{flow}\n{call_id}".encode()).hexdigest()[:16]
    return f"{re.sub('[.-]+$', '', flow[:46])}-{digest}"
