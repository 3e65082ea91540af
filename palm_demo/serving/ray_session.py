"""A session whose models are on replicas of a Ray cluster."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

import ray
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from palm_demo import checkpoints
from palm_demo.concurrency import asker
from palm_demo.errors import CheckpointError, ClusterError
from palm_demo.gallery import MEMORY
from palm_demo.models.lora import Adapter
from palm_demo.serving.answering import Failed
from palm_demo.serving.replica import AdapterRef, Mark
from palm_demo.serving.session_proxy import SessionProxy


class RemoteSession(SessionProxy):
    """A session for the page, whose verbs are answered by the replicas of a deployment, which end with it.

    A visitor's own scope is here and, once used, on a replica that further requests with it then go to.

    Raises ClusterError where a replica goes away before it has answered; others take over.
    """

    def __init__(self, models: DeploymentHandle, gallery_place: str | Path = MEMORY):
        """models: of a deployment of Replica. gallery_place: as in `palm_demo.load`."""
        self._models = models
        self._lent: WeakKeyDictionary[Adapter, AdapterRef] = WeakKeyDictionary()
        super().__init__(self._call(models, "facts"), gallery_place)

    def save_adapter(self, adapter: Adapter, path: Path | str) -> None:
        """As `Session.save_adapter`, into a file of this machine."""
        content = self._call(self._models, "adapter_file", adapter)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)

    def load_adapter(self, path: Path | str, highest_rank: int = checkpoints.HIGHEST_RANK) -> Adapter:
        """As `Session.load_adapter`, from a file of this machine."""
        if not Path(path).is_file():
            raise CheckpointError(f"there is no weights file at {path}")
        return self._call(self._models, "adapter_of", Path(path).read_bytes(), str(path), highest_rank)

    def _ask(self, verb: str, arguments: tuple, settings: dict) -> object:
        return self._call(self._nearest(arguments), "ask", asker.get(), verb, arguments, settings)

    def _begin(
        self, verb: str, stop: str, cancelled: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        items = self._stream(verb, stop, cancelled, arguments, settings)
        next(items)  # raises what is wrong with the arguments
        return items

    def _call(self, models: DeploymentHandle, method: str, *given) -> object:
        with _replicas_that_may_go():
            answer = getattr(models, method).remote(*given).result()
        if isinstance(answer, Failed):
            raise answer.error
        return answer

    def _stream(
        self, verb: str, stop: str, cancelled: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        """None when it has begun, then the items. A replica is told to stop at the next item, one that
        nobody reads any more at once."""
        key, told = uuid.uuid4().hex, False
        models = self._nearest(arguments).options(stream=True)
        with _replicas_that_may_go():
            items = models.stream.remote(asker.get(), verb, stop, key, arguments, settings)
            try:
                for item in items:
                    if isinstance(item, Failed):
                        raise item.error
                    if item is Mark.BEGUN:
                        yield None
                    elif item is not Mark.ALIVE:
                        yield item
                    if cancelled is not None and cancelled.is_set() and not told:
                        self._models.broadcast("stop", key).results(return_exceptions=True)
                        told = True
            except GeneratorExit:
                items.cancel()
                raise

    def _lend(self, adapter: Adapter) -> AdapterRef:
        if adapter not in self._lent:
            self._lent[adapter] = AdapterRef(uuid.uuid4().hex, ray.put(adapter))
        return self._lent[adapter]

    def _nearest(self, arguments: tuple) -> DeploymentHandle:
        """The replicas, the one that has the visitor's scope, the first of a mix, before the others."""
        parts = [part for one in arguments for part in (one if isinstance(one, dict) else (one,))]
        scope = next((part for part in parts if isinstance(part, AdapterRef)), None)
        return self._models.options(multiplexed_model_id=scope.id) if scope else self._models


@contextmanager
def _replicas_that_may_go() -> Iterator[None]:
    try:
        yield
    except (RayError, RayServeException) as error:
        raise ClusterError(
            "the process that was answering went away before it was done; try again, another one takes over"
        ) from error
