"""The Hub's answers about Spaces: who may, what there is, how it is set up, how it runs."""

import json

from tests.hub.state import SPACE, Hub, Refused, Reply, Request, Space, route


@route("GET", "/api/whoami-v2")
def who(hub: Hub, asked: Request):
    return {"type": "user", "name": hub.tokens[asked.token], "orgs": []}


@route("POST", "/api/repos/create")
def create(hub: Hub, asked: Request):
    owner = asked.json["organization"] or hub.tokens[asked.token]
    repo = f"{owner}/{asked.json['name']}"
    url = f"{hub.url}/spaces/{repo}"
    if owner != hub.tokens[asked.token]:
        raise Refused(403, "You don't have the rights to create a repo under this namespace")
    if repo in hub.spaces:
        raise Refused(409, "You already created this space repo", url=url)
    hub.spaces[repo] = Space(hardware=asked.json.get("hardware", "cpu-basic"))
    return {"url": url}


@route("GET", f"/api/spaces/{SPACE}(/revision/[^/]+)?")
def info(hub: Hub, asked: Request, repo: str):
    return {"id": repo, "sha": hub.space(repo).commits[-1], "sdk": "gradio"}


@route("GET", f"/api/spaces/{SPACE}/tree/[^/]+")
def tree(hub: Hub, asked: Request, repo: str):
    files = hub.space(repo).files.items()
    return [{"type": "file", "path": path, "size": len(b.content), "oid": b.oid} for path, b in files]


@route("GET", f"/api/spaces/{SPACE}/(?P<kind>variables|secrets)")
def settings(hub: Hub, asked: Request, repo: str, kind: str):
    values = getattr(hub.space(repo), kind)
    return {key: {"value": value} if kind == "variables" else {} for key, value in values.items()}


@route("POST", f"/api/spaces/{SPACE}/(?P<kind>variables|secrets)")
def set_one(hub: Hub, asked: Request, repo: str, kind: str):
    getattr(hub.space(repo), kind)[asked.json["key"]] = asked.json["value"]
    return settings(hub, asked, repo, kind)


@route("GET", f"/api/spaces/{SPACE}/runtime")
def runtime(hub: Hub, asked: Request, repo: str):
    """Each look is one stage further, until the last."""
    space = hub.space(repo)
    told = _runtime(space)
    if len(space.stages) > 1:
        space.stages.pop(0)
    return told


def _runtime(space: Space) -> dict:
    stage = space.stages[0]
    if stage == "RUNNING" and len(space.stages) == 1:
        space.running = space.commits[-1]
    told = {
        "stage": stage,
        "hardware": {"current": space.hardware, "requested": space.hardware},
        "gcTimeout": space.sleep_seconds,
    }
    return told | {"sha": space.running} if stage == "RUNNING" else told


@route("POST", f"/api/spaces/{SPACE}/hardware")
def set_hardware(hub: Hub, asked: Request, repo: str):
    space = hub.space(repo)
    space.hardware = asked.json["flavor"]
    space.sleep_seconds = asked.json.get("sleepTimeSeconds", space.sleep_seconds)
    return _runtime(space)


@route("POST", f"/api/spaces/{SPACE}/sleeptime")
def set_sleep(hub: Hub, asked: Request, repo: str):
    hub.space(repo).sleep_seconds = asked.json["seconds"]
    return _runtime(hub.space(repo))


@route("GET", f"/api/spaces/{SPACE}/logs/(?P<kind>build|run)")
def log(hub: Hub, asked: Request, repo: str, kind: str):
    hub.space(repo)
    events = [
        json.dumps({"data": line + "\n", "timestamp": "2026-01-31T00:00:00Z"}) for line in hub.logs[kind]
    ]
    lines = "".join(f"data: {event}\n\n" for event in events)
    return Reply(lines.encode(), {"Content-Type": "text/event-stream"})
