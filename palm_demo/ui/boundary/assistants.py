"""Calls of assistants (MCP): pictures in them, given by path, URL or content, become files of the visitor."""

import base64
import binascii
import json
import logging
import mimetypes
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

import anyio

from palm_demo.errors import MediaError, PalmDemoError
from palm_demo.settings import Limits
from palm_demo.ui.boundary.files import Files
from palm_demo.ui.boundary.gradio_insides import Insides
from palm_demo.ui.boundary.requests import CALL_BYTES, PageRequest
from palm_demo.ui.boundary.timeouts import ClientTimeout
from palm_demo.ui.boundary.upload_quotas import UploadQuotas
from palm_demo.ui.boundary.visitors import Visitor
from palm_demo.ui.messages import NO_ROOM, as_sentence

logger = logging.getLogger(__name__)

INLINE_BYTES = 12_000_000
"""The largest file that a call may contain, as a data: URI. In base64 it is a third longer."""
DATA = re.compile(r"data:(?P<kind>[\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,", re.ASCII)
FILES = re.compile(rb'"data:[^"]*"')
"""Files in a call's JSON. What is left of it without them is parsed at once, so it has to be small."""
CALL_ID = re.compile(rb'"id"\s*:\s*("[^"\\]{0,100}"|\d{1,18})')
END_BYTES = 1000
"""Bytes at both ends of a call that is too large, in which its id is searched for."""


class NotCalled(Exception):
    """A call that is not passed on. It is answered with an error, and the assistant may call again.

    Attributes:
        number: the JSON-RPC id of the call; None if it could not be read.
        message: for the assistant.
    """

    def __init__(self, number: object, message: str):
        super().__init__(message)
        self.number, self.message = number, message


class Assistants:
    """Reads calls of assistants, and writes files that they contain into the upload folder."""

    def __init__(self, insides: Insides, files: Files, quotas: UploadQuotas, limits: Limits):
        self.insides, self.files, self.quotas, self.limits = insides, files, quotas, limits

    async def call(self, request: PageRequest) -> object:
        """The body of a call, in which each file has the form that Gradio expects.

        Raises NotCalled if the call is too large or a file in it cannot be used.
        """
        body = await self._read(request)
        if not isinstance(body, dict) or "id" not in body:
            return body
        written: list[Path] = []
        try:
            called = await anyio.to_thread.run_sync(self._with_files, body, request.visitor, written)
            await anyio.to_thread.run_sync(self.files.admit, called, request.visitor)
        except PalmDemoError as error:
            _delete(written)
            raise NotCalled(body["id"], as_sentence(error)) from error
        except OSError as error:
            _delete(written)
            logger.error("a file of an assistant cannot be kept: %s", error.strerror)
            raise NotCalled(body["id"], NO_ROOM) from error
        self.insides.deletes(written)
        return called

    async def _read(self, request: PageRequest) -> object:
        most, body, size, tail = INLINE_BYTES * 4 // 3 + CALL_BYTES, bytearray(), 0, b""
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientTimeout("the client left")
            piece = message.get("body", b"")
            size += len(piece)
            tail = (tail + piece)[-END_BYTES:]
            if size <= most:
                body += piece
            if not message.get("more_body", False):
                break
        if size > most:
            why = f"A call has {size:,} bytes and at most {most:,} fit; upload the file and name its path."
        elif (rest := size - sum(file.end() - file.start() for file in FILES.finditer(body))) > CALL_BYTES:
            why = (
                f"A call has {rest:,} bytes beside its files and at most {CALL_BYTES:,} fit; send less text."
            )
        else:
            try:
                return request.parsed(bytes(body))
            except MediaError as error:
                why = as_sentence(error)
        found = CALL_ID.findall(tail) or CALL_ID.findall(bytes(body[:END_BYTES]))
        raise NotCalled(json.loads(found[-1]) if found else None, why)

    def _with_files(self, body: dict, visitor: Visitor, written: list[Path]) -> dict:
        """The body with its files in the form that Gradio expects. written: gets those that are written."""
        params = body.get("params")
        if body.get("method") != "tools/call" or not isinstance(params, dict):
            return body
        arguments, event = params.get("arguments"), self.insides.tool(params.get("name"))
        if event is None or not isinstance(arguments, dict):
            return body
        named = {}
        for name, or_text in self.insides.file_inputs(event).items():
            if isinstance(value := arguments.get(name), list):
                named[name] = [self._file(one, or_text, visitor, written) for one in value]
            elif name in arguments:
                named[name] = self._file(value, or_text, visitor, written)
        return body | {"params": params | {"arguments": arguments | named}}

    def _file(self, value: object, or_text: bool, visitor: Visitor, written: list[Path]) -> object:
        """The form that Gradio expects of a file, which is given by path, URL on this page, or data: URI.

        or_text: whether the parameter also takes text.
        """
        if isinstance(value, dict):
            path = value.get("path") or value.get("url")
            has_path = isinstance(value.get("path"), str) and not value["path"].startswith("data:")
            value = value if has_path or not isinstance(path, str) else path
        if not isinstance(value, str):
            return value
        if value.startswith("data:"):
            return self._write(value, visitor, written)
        _, served, shown = value.partition("/file=")
        if or_text and not served and not value.startswith("/"):
            return value
        return {"path": unquote(shown) if served else value, "meta": {"_type": "gradio.FileData"}}

    def _write(self, uri: str, visitor: Visitor, written: list[Path]) -> dict:
        """Writes the file of a data: URI into the upload folder. It counts as an upload."""
        found = DATA.match(uri)
        if found is None or found["kind"].partition("/")[0] not in ("image", "video"):
            raise MediaError(
                "a data: URI is no picture and no video in base64; it begins as data:image/png;base64,"
            )
        most = min(INLINE_BYTES, self.limits.upload_bytes)
        try:
            data = base64.b64decode(uri[found.end() :], validate=True)
        except binascii.Error as error:
            raise MediaError(f"a data: URI is no base64 ({error}); encode the file anew") from error
        if len(data) > most:
            raise MediaError(f"a file has {len(data):,} bytes and at most {most:,} fit; send a smaller")
        self.quotas.spend(visitor.address, 1, len(data))
        self.quotas.check_room(visitor.address)
        folder = self.files.folder / uuid4().hex
        folder.mkdir(parents=True)
        path = folder / f"file{mimetypes.guess_extension(found['kind']) or ''}"
        written.append(path)
        path.write_bytes(data)
        self.files.grant(path, visitor)
        self.quotas.keeps(visitor.address, len(data))
        return {"path": self.files.shown(path), "meta": {"_type": "gradio.FileData"}}


def _delete(files: Iterable[Path]) -> None:
    """Deletes files, each with the folder that was made for it."""
    for file in files:
        shutil.rmtree(file.parent, ignore_errors=True)
