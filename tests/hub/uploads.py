"""The Hub's answers to files that come in: small ones within a commit, large ones through LFS before it."""

import base64
import hashlib
import json

import yaml

from tests.hub.state import SPACE, Blob, Hub, Refused, Request, route


@route("POST", "/api/validate-yaml")
def validate(hub: Hub, asked: Request):
    parts = asked.json["content"].split("---\n")
    named = len(parts) > 2 and isinstance(yaml.safe_load(parts[1]), dict)
    if not named:
        raise Refused(400, "Invalid metadata", errors=[{"message": "Missing configuration in README"}])
    return {"errors": [], "warnings": []}


@route("POST", f"/api/spaces/{SPACE}/preupload/[^/]+")
def preupload(hub: Hub, asked: Request, repo: str):
    """How each file is to be sent, and what the repository has in its place."""
    there = hub.space(repo).files

    def told(of: dict) -> dict:
        lfs = of["size"] >= hub.lfs_bytes or b"\0" in base64.b64decode(of["sample"])
        oid = there[of["path"]].oid if of["path"] in there else None
        mode = "lfs" if lfs else "regular"
        return {"path": of["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    return {"files": [told(of) for of in asked.json["files"]]}


@route("POST", f"/spaces/{SPACE}[.]git/info/lfs/objects/batch")
def batch(hub: Hub, asked: Request, repo: str):
    """Where the large files go that are not there yet."""

    def told(of: dict) -> dict:
        action = {"upload": {"href": f"{hub.url}/lfs/{of['oid']}"}}
        return {**of, "actions": action} if of["oid"] not in hub.objects else of

    return {"transfer": "basic", "objects": [told(of) for of in asked.json["objects"]]}


@route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
def store(hub: Hub, asked: Request, oid: str):
    if hashlib.sha256(asked.body).hexdigest() != oid:
        raise Refused(400, "the object is not what its name says")
    hub.objects[oid] = asked.body
    return {}


@route("POST", f"/api/spaces/{SPACE}/commit/[^/]+")
def commit(hub: Hub, asked: Request, repo: str):
    space = hub.space(repo)
    for line in asked.body.splitlines():
        kind, value = (part := json.loads(line))["key"], part["value"]
        if kind == "file":
            space.files[value["path"]] = Blob(base64.b64decode(value["content"]))
        elif kind == "lfsFile":
            space.files[value["path"]] = Blob(hub.objects[value["oid"]], lfs=True)
        elif kind == "deletedFile":
            del space.files[value["path"]]
    space.commits.append(hashlib.sha1(asked.body + space.commits[-1].encode()).hexdigest())
    space.stages = list(hub.stages)
    return {
        "commitUrl": f"{hub.url}/spaces/{repo}/commit/{space.commits[-1]}",
        "commitOid": space.commits[-1],
    }
