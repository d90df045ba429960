"""A local server that answers like the hub, as far as downloading a model asks it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple
from urllib.parse import unquote

Files = dict[str, bytes]
TOKEN = "hf_secret"


class Hub(NamedTuple):
    """Repositories by name and revision; `gated` ones want the token."""

    repositories: dict[str, dict[str, Files]]
    gated: frozenset[str]
    broken: frozenset[str]
    requests: list[str]

    def commit(self, repository: str, revision: str) -> str | None:
        """The full hash behind a branch, tag or hash."""
        for name in self.repositories[repository]:
            commit = hashlib.sha1(f"{repository}{name}".encode()).hexdigest()
            if revision in (name, commit):
                return commit
        return None

    def files(self, repository: str, commit: str) -> Files:
        """The files of a commit."""
        revisions = self.repositories[repository]
        return next(f for name, f in revisions.items() if self.commit(repository, name) == commit)


class Handler(BaseHTTPRequestHandler):
    """`/owner/name/resolve/<revision>/<file>` and `/api/models/owner/name`."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""

    def answer(self, *, body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        self.hub.requests.append(f"{self.command} {path}")
        api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models").strip("/").split("/")
        repository = "/".join(parts[:2])
        if repository not in self.hub.repositories:
            return self.fail(401, "RepoNotFound")
        if repository in self.hub.broken:
            return self.fail(500, "")
        token = self.headers.get("Authorization", "")
        if repository in self.hub.gated and token != f"Bearer {TOKEN}":
            return self.fail(401 if not token else 403, "GatedRepo")
        revision = parts[3] if len(parts) > 3 else "main"
        commit = self.hub.commit(repository, revision)
        if commit is None:
            return self.fail(404, "RevisionNotFound")
        files = self.hub.files(repository, commit)
        if api:
            siblings = [{"rfilename": name} for name in files]
            listing = {"id": repository, "sha": commit, "siblings": siblings}
            return self.send(json.dumps(listing).encode(), commit, body)
        name = "/".join(parts[4:])
        if name not in files:
            return self.fail(404, "EntryNotFound", commit)
        return self.send(files[name], commit, body)

    def send(self, content: bytes, commit: str, body: bool) -> None:
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def fail(self, status: int, code: str, commit: str | None = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serve(hub: Hub) -> Iterator[str]:
    """Serve on a free port of the loopback; gives the endpoint."""
    handler = type("HubHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
