"""A real SMTP server (aiosmtpd) for tests: STARTTLS, SMTPS, AUTH, and misbehaviour by rules.

Its one argument is a JSON object: host, port, tls_port (0: none), cert, key, users ({name: password}), tokens
({name: token} for XOAUTH2), without (ways to log in that are not offered), starttls, rules (file), mails (file).

Each mail that it takes is a line of JSON in `mails`. `rules` is read whenever something is to be decided: a list of
{"to": part of an address or "", "at": "mail" | "rcpt" | "data", "reply": "451 not now", "delay": seconds,
"hold": true (as long as the rule stands), "close": true, "times": at most so often}; the first that matches decides.
"data" with a delay or a hold and no reply waits after the mail is written down and before it is acknowledged.
"""

import asyncio
import base64
import email
import email.policy
import json
import ssl
import sys
import time

from aiosmtpd.smtp import SMTP, AuthResult

options = json.loads(sys.argv[1])
used = {}


def rules():
    try:
        with open(options["rules"]) as file:
            return json.load(file)
    except (OSError, ValueError):
        return []


def rule(at, to):
    for found in rules():
        if found.get("at", "rcpt") != at or found.get("to", "") not in to:
            continue
        name = json.dumps(found, sort_keys=True)
        if used.get(name, 0) >= found.get("times", 10**9):
            continue
        used[name] = used.get(name, 0) + 1
        return found
    return {}


async def obey(found, server):
    if found.get("delay"):
        await asyncio.sleep(found["delay"])
    while found.get("hold") and found in rules():
        await asyncio.sleep(0.02)
    if found.get("close"):
        server.transport.abort()
    return found.get("reply")


class Handler:
    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        reply = await obey(rule("mail", address), server)
        if reply:
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        reply = await obey(rule("rcpt", address), server)
        if reply:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        found = rule("data", " ".join(envelope.rcpt_tos))
        if found.get("reply"):
            return await obey(found, server)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "at": time.time(),
            "tls": session.ssl is not None or server.transport.get_extra_info("ssl_object") is not None,
            "user": session.auth_data if session.authenticated else None,
            "login": getattr(session, "mechanism", None) if session.authenticated else None,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": body(message, "plain"),
            "html": body(message, "html"),
        }
        with open(options["mails"], "a") as file:
            file.write(json.dumps(mail) + "\n")
        await obey(found, server)
        return "250 taken"

    async def auth_XOAUTH2(self, server, args):
        if len(args) < 2:
            await server.push("334 ")
            blob = (await server._reader.readline()).strip()
        else:
            blob = args[1].encode()
        parts = base64.b64decode(blob).decode().split("\x01")
        name = parts[0].removeprefix("user=")
        token = parts[1].removeprefix("auth=Bearer ")
        if options.get("tokens", {}).get(name) == token:
            server.session.mechanism = "XOAUTH2"
            return AuthResult(success=True, auth_data=name)
        return AuthResult(success=False, handled=False)


def body(message, kind):
    part = message.get_body(preferencelist=(kind,))
    return part.get_content() if part is not None else ""


def authenticate(server, session, envelope, mechanism, data):
    name, password = data.login.decode(), data.password.decode()
    if options.get("users", {}).get(name) == password:
        session.mechanism = mechanism
        return AuthResult(success=True, auth_data=name)
    return AuthResult(success=False, handled=False)


async def main():
    tls = None
    if options.get("cert"):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options["cert"], options["key"])
    needs_login = bool(options.get("users") or options.get("tokens"))

    def server(starttls, implicit):
        return SMTP(
            Handler(),
            hostname="localhost",
            enable_SMTPUTF8=True,
            tls_context=tls if starttls else None,
            require_starttls=starttls,
            auth_required=needs_login,
            auth_require_tls=not implicit,
            auth_exclude_mechanism=options.get("without", []),
            authenticator=authenticate,
        )

    loop = asyncio.get_running_loop()
    host = options["host"]
    await loop.create_server(lambda: server(options["starttls"], False), host, options["port"])
    if options.get("tls_port"):
        await loop.create_server(lambda: server(False, True), host, options["tls_port"], ssl=tls)
    await asyncio.Event().wait()


asyncio.run(main())
