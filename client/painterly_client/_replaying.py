"""The request that makes a result again. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from painterly.v1 import harmonize_service_pb2 as pb
from painterly_client._conversion import image_message, parameters_message
from painterly_client._errors import invalid
from painterly_client._manifest import Manifest
from painterly_client._types import Stage, StreamOptions

ReplayRequest = pb.RunPass1Request | pb.RunPass2Request | pb.HarmonizeRequest

_KINDS: Mapping[tuple[Stage, ...], type[ReplayRequest]] = {
    (Stage.PASS1,): pb.RunPass1Request,
    (Stage.PASS2,): pb.RunPass2Request,
    (Stage.PASS1, Stage.PASS2, Stage.POSTPROCESSING): pb.HarmonizeRequest,
}


def replay_request(
    manifest: Manifest, images: Mapping[str, bytes], stream: StreamOptions | None, *, anywhere: bool
) -> ReplayRequest:
    """The request that makes a result again; ``images`` are the inputs' bytes by their names.

    Unless ``anywhere``, a server whose environment differs is to refuse it. Raises: InvalidRequest.
    """
    kind = _KINDS.get(manifest.stages)
    if kind is None:
        stages = ", ".join(stage.value for stage in manifest.stages) or "none"
        raise invalid("FIELD_OUT_OF_RANGE", f"stages: no call runs {stages}", field="stages", value=stages)
    if set(images) != set(manifest.inputs):
        given, needed = (", ".join(sorted(names)) or "none" for names in (images, manifest.inputs))
        raise invalid("FIELD_REQUIRED", f"images: {needed} are needed, not {given}", field="images")
    own = manifest.environment
    request = kind(
        parameters=parameters_message(manifest.parameters, pb.HarmonizeParameters, "parameters"),
        stream=parameters_message(stream, pb.StreamOptions, "stream"),
        expected_environment=None
        if anywhere
        else pb.Environment(
            device=own.device,
            instructions=own.instructions,
            thread_count=own.thread_count,
            precision=own.precision,
            weights_checksum=own.weights_checksum,
            versions=own.versions,
        ),
    )
    for name, data in images.items():
        getattr(request, name).CopyFrom(image_message(data, name))
    return request


def method_name(request: ReplayRequest) -> str:
    """The call that a request is for."""
    return type(request).__name__.removesuffix("Request")
