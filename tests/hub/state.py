"""What the Hub of the tests keeps, and what it was asked."""

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

TOKEN, OWNER = "hf_of-the-owner", "owner"
SPACE = "(?P<repo>[^/]+/[^/]+)"


@dataclass(frozen=True)
class Blob:
    """A file of a repository. oid: what the client compares with its own file's."""

    content: bytes
    lfs: bool = False

    @property
    def oid(self) -> str:
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass
class Space:
    """A Space with its history. stages: those still to come, of which the last one stays."""

    hardware: str = "cpu-basic"
    sleep_seconds: int | None = None
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    files: dict[str, Blob] = field(default_factory=lambda: {".gitattributes": Blob(b"*.bin filter=lfs\n")})
    commits: list[str] = field(default_factory=lambda: ["0" * 40])
    stages: list[str] = field(default_factory=lambda: ["NO_APP_FILE"])
    running: str | None = None


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: bytes
    token: str | None

    @property
    def json(self):
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer that is no JSON document. stalls: half of the body comes, and no more when
    it is asked for again."""

    body: bytes
    headers: dict[str, str]
    stalls: bool = False


class Refused(Exception):
    """An answer other than 200, with what the Hub says of it."""

    def __init__(self, status: int, message: str, code: str = "", **document):
        self.status, self.message, self.code = status, message, code
        self.document = {"error": message, **document}


@dataclass
class Hub:
    """url: for HF_ENDPOINT. stages: which every commit sets off. lfs_bytes: from this size on a file goes
    through LFS. models: repository -> its files. cut_bytes: how much of each of them is sent at most.
    stalling: files of which half is sent. refusals: answers to (method, path) that come instead of the usual
    ones."""

    url: str = ""
    tokens: dict[str, str] = field(default_factory=lambda: {TOKEN: OWNER})
    spaces: dict[str, Space] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    stages: tuple[str, ...] = ("BUILDING", "APP_STARTING", "RUNNING")
    logs: dict[str, list[str]] = field(default_factory=lambda: {"build": [], "run": []})
    lfs_bytes: int = 10_000_000
    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    cut_bytes: int | None = None
    stalling: set[str] = field(default_factory=set)
    closing: threading.Event = field(default_factory=threading.Event)
    refusals: dict[tuple[str, str], Refused] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def space(self, repo: str) -> Space:
        if repo not in self.spaces:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return self.spaces[repo]

    def asked(self, method: str, ending: str) -> list[Request]:
        """The requests so far of a method, to paths that end so."""
        return [one for one in self.requests if one.method == method and one.path.endswith(ending)]

    @property
    def changes(self) -> list[str]:
        """The requests that changed something, as "METHOD path"."""
        reading = re.compile(r".*(/preupload/[^/]+|/validate-yaml|/repos/create|/objects/batch)$")
        return [
            f"{one.method} {one.path}"
            for one in self.requests
            if one.method != "GET" and not reading.match(one.path)
        ]


Answer = Callable[..., object]
ROUTES: list[tuple[str, re.Pattern, Answer]] = []


def route(method: str, pattern: str) -> Callable[[Answer], Answer]:
    """Has a function answer: its arguments are the hub, the request and the pattern's groups by name, and
    it returns a JSON document, or a Reply."""

    def add(answer: Answer) -> Answer:
        ROUTES.append((method, re.compile(pattern), answer))
        return answer

    return add
