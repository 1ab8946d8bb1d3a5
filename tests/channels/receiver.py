"""A mail server and an HTTP server that take what channels send, and check it by libraries that are not ours.

Arguments: a folder with cert.pem and key.pem, and the ports of STARTTLS, TLS, no TLS, and HTTP. What is taken is a line of JSON each in the
file `taken` of the folder.
"""

import email
import email.policy
import http.server
import json
import pathlib
import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cloudevents.v1.http import from_http
from slack_sdk.models.blocks import MarkdownTextObject, SectionBlock
from standardwebhooks import Webhook

folder = pathlib.Path(sys.argv[1])
starttls, tls, plain, web = (int(port) for port in sys.argv[2:6])
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
lock = threading.Lock()


def take(**what):
    with lock, (folder / "taken").open("a") as taken:
        taken.write(json.dumps(what) + "\n")


class Mails:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("unknown@"):
            return "550 no such user hunter2-password"
        if address.startswith("busy@"):
            return "450 later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        files = [
            {"name": part.get_filename(), "type": part.get_content_type(), "content": part.get_content()}
            for part in mail.iter_attachments()
        ]
        take(
            kind="mail",
            user=session.auth_data and session.auth_data.decode(),
            encrypted=server.transport.get_extra_info("sslcontext") is not None,
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            headers=[[name, str(value)] for name, value in mail.items()],
            text=mail.get_body(("plain",)).get_content(),
            files=[file | {"content": str(file["content"])} for file in files],
            defects=[str(defect) for defect in mail.defects],
        )
        return "250 taken"


def log_in(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and data.password == b"hunter2-password"
    return AuthResult(success=good, handled=False, auth_data=data.login if good else None)


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
with_login = {"authenticator": log_in, "auth_required": True}
Controller(Mails(), "127.0.0.1", starttls, tls_context=context, require_starttls=True, **with_login).start()
Controller(Mails(), "127.0.0.1", tls, ssl_context=context, auth_require_tls=False, **with_login).start()
Controller(Mails(), "127.0.0.1", plain).start()


class Posts(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, answer = self.judge(headers, body)
        except Exception as refusal:
            status, answer = 401, {"refused": f"{type(refusal).__name__}: {refusal}"}
        answer = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self):
        known = {"/broken": 500, "/refused": 401}
        self.send_response(known.get(self.path, 404))
        self.send_header("content-length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def judge(self, headers, body):
        if self.path == "/slack/auth.test":
            if headers["authorization"] != "Bearer xoxb-secret-token":
                return 200, {"ok": False, "error": "invalid_auth"}
            return 200, {"ok": True, "user": "signoff", "team": "Example"}
        if self.path == "/slack/chat.postMessage":
            if headers["authorization"] != "Bearer xoxb-secret-token":
                return 200, {"ok": False, "error": "invalid_auth"}
            message = json.loads(body)
            SectionBlock(text=MarkdownTextObject(text=message["text"])).validate_json()
            take(kind="slack", message=message)
            return 200, {"ok": True, "channel": "C1", "ts": "1700000000.000100"}
        Webhook(SECRET).verify(body, headers)
        if self.path == "/hook/events":
            event = from_http(headers, body)
            take(kind="event", attributes=dict(event.get_attributes()), data=event.get_data())
        else:
            take(kind="webhook", path=self.path, id=headers["webhook-id"], message=json.loads(body))
        return 200, {}

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", web), Posts)
(folder / "ready").touch()
server.serve_forever()
