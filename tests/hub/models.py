"""The Hub's answers about files of models: what they are, and their bytes, whole or not."""

import hashlib

from tests.hub.state import SPACE, Hub, Refused, Reply, Request, route

COMMIT = "c" * 40


def _file(hub: Hub, repo: str, revision: str, name: str) -> bytes:
    if repo not in hub.models:
        raise Refused(404, "Repository not found", "RepoNotFound")
    if revision not in ("main", COMMIT):
        raise Refused(404, "Invalid rev id", "RevisionNotFound")
    if name not in hub.models[repo]:
        raise Refused(404, "Entry not found", "EntryNotFound")
    return hub.models[repo][name]


RESOLVED = f"/{SPACE}/resolve/(?P<revision>[^/]+)/(?P<name>.+)"


@route("HEAD", RESOLVED)
def described(hub: Hub, asked: Request, repo: str, revision: str, name: str):
    content = _file(hub, repo, revision, name)
    return Reply(b"", {**_headers(content), "Content-Length": str(len(content))})


@route("GET", RESOLVED)
def sent(hub: Hub, asked: Request, repo: str, revision: str, name: str):
    content = _file(hub, repo, revision, name)
    return Reply(content[: hub.cut_bytes], _headers(content), stalls=name in hub.stalling)


def _headers(content: bytes) -> dict[str, str]:
    etag = hashlib.sha256(content).hexdigest()
    return {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Content-Type": "application/octet-stream"}
