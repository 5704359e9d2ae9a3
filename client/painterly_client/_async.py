"""The asyncio client: method by method the twin of the blocking one."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from painterly.v1 import harmonize_service_pb2, harmonize_service_pb2_grpc, preprocess_service_pb2_grpc
from painterly_client import _requests
from painterly_client._async_jobs import AsyncJobCalls
from painterly_client._async_stream import AsyncEventStream, task_is_cancelled
from painterly_client._base import (
    FULL_SERVICE_NAMES,
    CallContext,
    HealthStatus,
    Service,
    channel_options,
)
from painterly_client._conversion import plan_of
from painterly_client._credentials import Credentials, open_async_channel
from painterly_client._errors import InvalidRequest
from painterly_client._manifest import Manifest
from painterly_client._quality import QualityReport, quality_of
from painterly_client._reading import Attempt, StreamReader
from painterly_client._reattachment import Reattachment
from painterly_client._replaying import method_name, replay_request
from painterly_client._types import (
    BackgroundRemoval,
    BackgroundRemovalMethod,
    BackgroundRemoved,
    Composed,
    Compositing,
    Dilated,
    HarmonizeParameters,
    JobPlan,
    MaskDilation,
    OutputOptions,
    PlacedElement,
    Placement,
    PlacementSuggestion,
    Prepared,
    StreamOptions,
)

if TYPE_CHECKING:
    from typing_extensions import Self

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class AsyncClient(AsyncJobCalls):
    """Both services, in asyncio: :class:`Client` with coroutines, an asynchronous context manager for one event loop.

    ``preprocess_endpoint`` and ``harmonize_endpoint`` are ``host:port``, with ``https://`` before it for a server that
    speaks TLS; either may be left out as long as no call needs it. ``credentials`` are certificates and a token.
    ``timeout_s`` bounds every call, a stream from its start to its result; None waits without limit. Images
    are the bytes of image files. Every call raises :class:`PainterlyError`.

    A job with a ``job_key`` (1 to 128 of ``A-Z a-z 0-9 . _ -``) outlives its stream. When its connection is lost, the
    stream is taken up again as ``reattachment`` says, and no event comes twice; the same call with the same key, or
    :meth:`watch_job`, reads on from another process. When nobody listens for a while the server parks the job, and goes
    on when somebody does, unless it ``runs_unattended``. With ``waits_when_busy`` a call that the server has no room
    for waits as long as the server says and asks again, for ``reattachment.give_up_after_s`` at most.
    """

    def __init__(
        self,
        *,
        preprocess_endpoint: str | None = None,
        harmonize_endpoint: str | None = None,
        timeout_s: float | None = None,
        credentials: Credentials | None = None,
        reattachment: Reattachment | None = None,
        waits_when_busy: bool = False,
    ) -> None:
        super().__init__(
            preprocess_endpoint=preprocess_endpoint,
            harmonize_endpoint=harmonize_endpoint,
            timeout_s=timeout_s,
            credentials=credentials,
            reattachment=reattachment,
            waits_when_busy=waits_when_busy,
        )
        # A channel belongs to the event loop that runs when it is made, so none is made before the first call.
        self._channels: dict[Service, grpc.aio.Channel] = {}
        self._retired: list[grpc.aio.Channel] = []
        self._streams: weakref.WeakSet[AsyncEventStream] = weakref.WeakSet()

    async def remove_background(
        self,
        photo: bytes,
        *,
        method: BackgroundRemovalMethod = BackgroundRemovalMethod.AUTO,
        removal: BackgroundRemoval | None = None,
        output: OutputOptions | None = None,
    ) -> BackgroundRemoved:
        """Cut the foreground out of a photo. A method that ``removal`` names goes before ``method``."""
        request = _requests.remove_background_request(photo, method, removal, output)
        return _requests.background_removed(await self._preprocess(lambda stub: stub.RemoveBackground, request))

    async def compose(
        self,
        element: bytes,
        painting: bytes,
        *,
        placement: Placement | None = None,
        compositing: Compositing | None = None,
        output: OutputOptions | None = None,
    ) -> Composed:
        """Place a cut-out element, a picture with alpha, over a painting."""
        request = _requests.compose_request(element, painting, placement, compositing, output)
        return _requests.composed(await self._preprocess(lambda stub: stub.Compose, request))

    async def compose_elements(
        self,
        elements: Sequence[PlacedElement],
        painting: bytes,
        *,
        compositing: Compositing | None = None,
        output: OutputOptions | None = None,
    ) -> Composed:
        """Place several cut-out elements, at most 32, over a painting."""
        request = _requests.compose_elements_request(elements, painting, compositing, output)
        return _requests.composed(await self._preprocess(lambda stub: stub.Compose, request))

    async def suggest_placement(
        self,
        painting: bytes,
        *,
        element: bytes | None = None,
        aspect_ratio: float | None = None,
        height_fraction: float | None = None,
        suggestion_count: int | None = None,
    ) -> tuple[PlacementSuggestion, ...]:
        """Rank places for an element in a painting, best first.

        The element's proportions come from the cut-out ``element`` or from ``aspect_ratio``, width by height (0.05 to
        20); ``height_fraction`` (0.01 to 4) keeps a height; ``suggestion_count`` is 1 to 20.
        """
        request = _requests.suggest_placement_request(
            painting, element, aspect_ratio, height_fraction, suggestion_count
        )
        return _requests.suggestions(await self._preprocess(lambda stub: stub.SuggestPlacement, request))

    async def dilate_mask(self, mask: bytes, *, dilation: MaskDilation | None = None) -> Dilated:
        """Grow a mask, by the paper's rule or the classic one."""
        request = _requests.dilate_mask_request(mask, dilation)
        return _requests.dilated(await self._preprocess(lambda stub: stub.DilateMask, request))

    async def prepare(
        self,
        photo: bytes,
        painting: bytes,
        *,
        method: BackgroundRemovalMethod = BackgroundRemovalMethod.AUTO,
        removal: BackgroundRemoval | None = None,
        placement: Placement | None = None,
        dilation: MaskDilation | None = None,
        compositing: Compositing | None = None,
        output: OutputOptions | None = None,
    ) -> Prepared:
        """Remove the background, compose and dilate the mask in one call."""
        request = _requests.prepare_request(
            photo,
            painting,
            method=method,
            removal=removal,
            placement=placement,
            dilation=dilation,
            compositing=compositing,
            output=output,
        )
        return _requests.prepared(await self._preprocess(lambda stub: stub.Prepare, request))

    def run_pass1(
        self,
        composite: bytes,
        painting: bytes,
        mask: bytes,
        *,
        dilated_mask: bytes | None = None,
        style_mask: bytes | None = None,
        parameters: HarmonizeParameters | None = None,
        stream: StreamOptions | None = None,
        job_key: str = "",
        runs_unattended: bool = False,
    ) -> AsyncEventStream:
        """Run the coarse harmonization alone. Without a dilated mask the server derives it.

        ``style_mask`` marks the part of the painting that lends its hand. A ``job_key`` names the job, see the class.
        """
        request = _requests.harmonizing_request(
            harmonize_service_pb2.RunPass1Request,
            composite=composite,
            painting=painting,
            mask=mask,
            dilated_mask=dilated_mask,
            style_mask=style_mask,
            parameters=parameters,
            stream=stream,
            job_key=job_key,
            runs_unattended=runs_unattended,
        )
        return self._stream("RunPass1", request)

    def run_pass2(
        self,
        composite: bytes,
        painting: bytes,
        mask: bytes,
        pass1_result: bytes,
        *,
        dilated_mask: bytes | None = None,
        style_mask: bytes | None = None,
        parameters: HarmonizeParameters | None = None,
        stream: StreamOptions | None = None,
        job_key: str = "",
        runs_unattended: bool = False,
    ) -> AsyncEventStream:
        """Run the refinement alone, from the first pass's lossless result; without post-processing.

        A ``job_key`` names the job, see the class.
        """
        request = _requests.harmonizing_request(
            harmonize_service_pb2.RunPass2Request,
            composite=composite,
            painting=painting,
            mask=mask,
            pass1_result=pass1_result,
            dilated_mask=dilated_mask,
            style_mask=style_mask,
            parameters=parameters,
            stream=stream,
            job_key=job_key,
            runs_unattended=runs_unattended,
        )
        return self._stream("RunPass2", request)

    def harmonize(
        self,
        composite: bytes,
        painting: bytes,
        mask: bytes,
        *,
        dilated_mask: bytes | None = None,
        style_mask: bytes | None = None,
        parameters: HarmonizeParameters | None = None,
        stream: StreamOptions | None = None,
        job_key: str = "",
        runs_unattended: bool = False,
    ) -> AsyncEventStream:
        """Run both passes and the post-processing. Without a dilated mask the server derives it.

        ``style_mask`` marks the part of the painting that lends its hand. A ``job_key`` names the job, see the class.
        """
        request = _requests.harmonizing_request(
            harmonize_service_pb2.HarmonizeRequest,
            composite=composite,
            painting=painting,
            mask=mask,
            dilated_mask=dilated_mask,
            style_mask=style_mask,
            parameters=parameters,
            stream=stream,
            job_key=job_key,
            runs_unattended=runs_unattended,
        )
        return self._stream("Harmonize", request)

    def replay(
        self,
        manifest: Manifest,
        images: Mapping[str, bytes],
        *,
        stream: StreamOptions | None = None,
        anywhere: bool = False,
    ) -> AsyncEventStream:
        """Make a result again; ``images`` are the manifest's inputs, encoded, by their names.

        Where the server's environment is not the manifest's it refuses, unless ``anywhere``: the bytes may then differ.
        """
        request = replay_request(manifest, images, stream, anywhere=anywhere)
        return self._stream(method_name(request), request)

    async def plan(
        self,
        mask: bytes,
        *,
        dilated_mask: bytes | None = None,
        parameters: HarmonizeParameters | None = None,
    ) -> JobPlan:
        """Ask what harmonizing an object with this mask, of the painting's size, would take; nothing is computed."""
        request = _requests.plan_request(mask, dilated_mask, parameters)
        context = self._context("harmonize")
        stub = harmonize_service_pb2_grpc.HarmonizeServiceStub(self._channel(context.service))
        return plan_of(await self._answer(stub.Plan, request, context))

    async def evaluate(
        self,
        result: bytes,
        painting: bytes,
        composite: bytes,
        mask: bytes,
        *,
        dilated_mask: bytes | None = None,
        style_mask: bytes | None = None,
    ) -> QualityReport:
        """Measure a finished picture beside the composite; ``style_mask`` is the part that lent its style."""
        request = _requests.evaluate_request(
            result=result,
            painting=painting,
            composite=composite,
            mask=mask,
            dilated_mask=dilated_mask,
            style_mask=style_mask,
        )
        context = self._context("harmonize")
        stub = harmonize_service_pb2_grpc.HarmonizeServiceStub(self._channel(context.service))
        return quality_of((await self._answer(stub.Evaluate, request, context)).report)

    async def check_health(self, service: Service) -> HealthStatus:
        """Ask the standard health service; SERVICE_UNKNOWN means that another service answers at the endpoint."""
        context = self._context(service)
        stub = health_pb2_grpc.HealthStub(self._channel(context.service))
        request = health_pb2.HealthCheckRequest(service=FULL_SERVICE_NAMES[service])
        try:
            response = await self._answer(stub.Check, request, context)
        except InvalidRequest as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return "SERVICE_UNKNOWN"
            raise
        status: HealthStatus = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        return status

    async def close(self) -> None:
        """Close the connections; running calls are cancelled."""
        self._closed = True
        for stream in list(self._streams):
            stream.cancel()
        for channel in (*self._channels.values(), *self._retired):
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _preprocess(
        self,
        method_of: Callable[
            [preprocess_service_pb2_grpc.PreprocessServiceAsyncStub],
            grpc.aio.UnaryUnaryMultiCallable[_Request, _Response],
        ],
        request: _Request,
    ) -> _Response:
        context = self._context("preprocess")
        method = method_of(preprocess_service_pb2_grpc.PreprocessServiceStub(self._channel(context.service)))
        return await self._answer(method, request, context)

    async def _ask(self, method: str, request: Message) -> Any:
        context = self._context("harmonize")
        stub = harmonize_service_pb2_grpc.HarmonizeServiceStub(self._channel(context.service))
        return await self._answer(getattr(stub, method), request, context)

    def _stream(self, method: str, request: Message) -> AsyncEventStream:
        context = self._context("harmonize")
        reader = StreamReader(
            context, method, request, reattachment=self._reattachment, waits_when_busy=self._waits_when_busy
        )
        stream = AsyncEventStream(self._open_call, reader)
        self._streams.add(stream)
        return stream

    def _open_call(self, attempt: Attempt) -> Any:
        """Make a stream's call; None when the client is closed."""
        if self._closed:
            return None
        if attempt.is_after_silence:
            # The old one is closed with the client: other streams may still use it.
            self._retired.append(self._channels.pop("harmonize"))
        stub = harmonize_service_pb2_grpc.HarmonizeServiceStub(self._channel("harmonize"))
        method = getattr(stub, attempt.method)
        return method(attempt.request, timeout=attempt.timeout_s, metadata=attempt.metadata)

    def _channel(self, service: Service) -> grpc.aio.Channel:
        if service not in self._channels:
            options = channel_options(len(self._retired))
            self._channels[service] = open_async_channel(self._endpoints[service], self._credentials, options)
        return self._channels[service]

    async def _answer(
        self, method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Response], request: _Request, context: CallContext
    ) -> _Response:
        patience = self._patience(context)
        while True:
            try:
                return await method(request, timeout=patience.left_s, metadata=context.metadata)
            except grpc.RpcError as failed:
                error = context.error(failed)
                delay_s = patience.delay_s(error)
                if delay_s is None:
                    raise error from failed
            except asyncio.CancelledError:
                # Closing the client cancels its calls, not the tasks that wait for them.
                if self._closed and not task_is_cancelled():
                    raise context.cancelled() from None
                raise
            await asyncio.sleep(delay_s)
