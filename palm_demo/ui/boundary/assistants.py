"""What assistants send by MCP: pictures as their clients name them, which become files of their visitor."""

import base64
import binascii
import json
import mimetypes
import re
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

INLINE_BYTES = 12_000_000
"""The most bytes of a file that stands in a call itself. In base64 it takes a third more."""
DATA = re.compile(r"data:(?P<kind>[\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,", re.ASCII)
NUMBER = re.compile(rb'"id"\s*:\s*("[^"\\]{0,100}"|\d{1,18})')
ENDS = 1000
"""Bytes at both ends of a call that is too large, among which its number stands."""


class NotCalled(Exception):
    """A call that is answered with an error, after which the assistant may go on.

    Attributes:
        number: the call's, by which its sender knows it.
    """

    def __init__(self, number: object, message: str):
        super().__init__(message)
        self.number, self.message = number, message


class Assistants:
    """Reads the calls of assistants, and keeps the files in them."""

    def __init__(self, insides: Insides, files: Files, quotas: UploadQuotas, limits: Limits):
        self.insides, self.files, self.quotas, self.limits = insides, files, quotas, limits

    async def call(self, request: PageRequest) -> object:
        """The call, with each file in it as the page shows it. Raises NotCalled where one cannot be taken."""
        body = await self._read(request)
        if not isinstance(body, dict) or "id" not in body:
            return body
        try:
            body = await anyio.to_thread.run_sync(self._with_files, body, request.visitor)
            await anyio.to_thread.run_sync(self.files.admit, body, request.visitor)
        except PalmDemoError as error:
            raise NotCalled(body["id"], f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
        return body

    async def _read(self, request: PageRequest) -> object:
        most, body, size, tail = INLINE_BYTES * 4 // 3 + CALL_BYTES, bytearray(), 0, b""
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientTimeout("the client left")
            piece = message.get("body", b"")
            size += len(piece)
            tail = (tail + piece)[-ENDS:]
            if size <= most:
                body += piece
            if not message.get("more_body", False):
                break
        if size <= most:
            return request.parsed(bytes(body))
        found = NUMBER.findall(tail) or NUMBER.findall(bytes(body[:ENDS]))
        why = f"A call has {size:,} bytes and at most {most:,} fit; upload the file and name its path."
        raise NotCalled(json.loads(found[-1]) if found else None, why)

    def _with_files(self, body: dict, visitor: Visitor) -> dict:
        params = body.get("params")
        if body.get("method") != "tools/call" or not isinstance(params, dict):
            return body
        arguments, event = params.get("arguments"), self.insides.named(str(params.get("name")))
        if event is None or not isinstance(arguments, dict):
            return body
        named = {}
        for name, or_words in self.insides.file_inputs(event).items():
            if isinstance(value := arguments.get(name), list):
                named[name] = [self._file(one, or_words, visitor) for one in value]
            elif name in arguments:
                named[name] = self._file(value, or_words, visitor)
        return body | {"params": params | {"arguments": arguments | named}}

    def _file(self, value: object, or_words: bool, visitor: Visitor) -> object:
        """A file that was named by its path, its address on this page or its content, as Gradio names it."""
        if isinstance(value, dict):
            path = value.get("path") or value.get("url")
            is_told = isinstance(value.get("path"), str) and not value["path"].startswith("data:")
            value = value if is_told or not isinstance(path, str) else path
        if not isinstance(value, str):
            return value
        if value.startswith("data:"):
            return self._kept(value, visitor)
        _, served, shown = value.partition("/file=")
        if or_words and not served and not value.startswith("/"):
            return value
        return {"path": unquote(shown) if served else value, "meta": {"_type": "gradio.FileData"}}

    def _kept(self, uri: str, visitor: Visitor) -> dict:
        """The file of a data: URI, counted and kept as an upload is."""
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
        path.write_bytes(data)
        self.files.belongs(path, [visitor.name])
        self.quotas.keeps(visitor.address, len(data))
        return {"path": self.files.shown(path), "meta": {"_type": "gradio.FileData"}}
