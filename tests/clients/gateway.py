"""What the clients have in common: calls over HTTPS and what is expected of their answers.

From the environment: GATEWAY_URL; GATEWAY_CA, the certificate to trust; GATEWAY_USER and
GATEWAY_PASSWORD. Whatever is not as expected ends the program with a message and exit code 1.
"""

import base64
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request

URL = os.environ["GATEWAY_URL"].rstrip("/")
TLS = ssl.create_default_context(cafile=os.environ["GATEWAY_CA"])
# Longer than anything here takes; what is asked for so long has failed.
PATIENCE_S = 60


class Answer:
    def __init__(self, call, status, headers, body):
        self.call = call
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        kind = self.headers.get("Content-Type")
        same(kind, "application/json", f"{self}: the type")
        return json.loads(self.body)

    def expect(self, status):
        """Itself, if it has this status."""
        same(self.status, status, f"{self}: the status")
        return self

    def __str__(self):
        return f"{self.call}: {self.status} {self.body[:500]!r}"


def fail(message):
    sys.exit(f"{os.path.basename(sys.argv[0])}: {message}")


def same(found, expected, what):
    if found != expected:
        fail(f"{what} is {found!r}, expected {expected!r}")


def true(condition, what, seen=None):
    if not condition:
        fail(what if seen is None else f"{what}: {seen}")


def login(name):
    """`user` and `password` of someone else: what GATEWAY_<NAME> says, as `user:password`."""
    return os.environ[f"GATEWAY_{name.upper()}"].split(":")


def basic(user=None, password=None):
    """The header of a user; without one, of the user in the environment."""
    user = user or os.environ["GATEWAY_USER"]
    password = password or os.environ["GATEWAY_PASSWORD"]
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {login}"}


def call(method, path, body=None, headers=None):
    """The answer to a request. `body` is sent as it is if it is bytes, else as JSON."""
    headers = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    request = urllib.request.Request(URL + path, data=body, headers=headers, method=method)
    name = f"{method} {path}"
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S, context=TLS) as answer:
            return Answer(name, answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(name, error.code, error.headers, error.read())
    except OSError as error:
        fail(f"{name}: {error}")


def until(what, ask, wait=lambda found: 0.05):
    """Asks again and again until there is what is wanted; `wait` says how long until the next
    time, by what `ask` gave."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found, is_there = ask()
        if is_there:
            return found
        time.sleep(wait(found))
    fail(f"in vain: {what}; the last answer is {found!r}")
