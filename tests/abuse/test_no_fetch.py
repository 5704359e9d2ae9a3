"""Nothing is fetched from an address that a caller names, wherever in a request it stands; only remove.bg is asked."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from painterly.limits import CHANNEL_OPTIONS
from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceStub
from tests.abuse import pictures
from tests.abuse.calls import Call, calls, valid
from tests.abuse.campaign import send
from tests.abuse.cases import Case
from tests.abuse.servers import Service, serving
from tests.abuse.strategies import paths, put
from tests.preprocess.remove_bg_server import KEY, Answer, RemoveBgServer


@pytest.fixture(scope="module")
def web() -> Iterator[RemoveBgServer]:
    """A server that notes every request, whatever its path; as remove.bg it gives proper answers."""
    with RemoveBgServer().running() as server:
        yield server


@pytest.fixture(scope="module", params=["preprocess", "harmonize"])
def service(
    request: pytest.FixtureRequest, web: RemoveBgServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Each service; to the one, ``web`` is remove.bg and the proxy that its environment names."""
    bait = web.endpoint.removesuffix("/v1.0")
    proxies = {"HTTP_PROXY": bait, "http_proxy": bait, "ALL_PROXY": bait}
    settings = {"PAINTERLY_REMOVE_BG_ENDPOINT": web.endpoint, "PAINTERLY_REMOVE_BG_API_KEY": KEY}
    with serving(request.param, tmp_path_factory.mktemp("bait"), **settings, **proxies) as running:
        yield running


def baits(address: str) -> list[str]:
    """The address in every spelling that something might follow."""
    bare = address.removeprefix("http://")
    return [
        address,
        f"//{bare}",
        f"http://user:password@{bare}",
        f"url({address})",
        f"@{address}",
        f"|curl {address}",
        f"$(curl {address})",
        f"dns:///{bare}",
        f"${{jndi:ldap://{bare}/a}}",
    ]


def files(address: str) -> list[bytes]:
    """Files that name the address: as a whole, and in each place where image formats let one stand."""
    text = address.encode()
    pixels = [(b"IDAT", zlib.compress(b"\0" * (64 * (1 + 80 * 3)))), (b"IEND", b"")]
    header = pictures.png_header(80, 64)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a href="%b"/></x:xmpmeta>' % text
    profile = struct.pack(">I", 200 + len(text)) + bytes(32) + b"acsp" + bytes(160) + text
    return [
        text,
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="%b"/></svg>' % text,
        b'<!DOCTYPE s [<!ENTITY x SYSTEM "%b">]><svg>&x;</svg>' % text,
        b"push graphic-context\nimage over 0,0 0,0 '%b'\npop graphic-context" % text,
        b"#EXTM3U\n%b\n" % text,
        pictures.png([header, (b"tEXt", b"URL\0" + text), *pixels]),
        pictures.png([header, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp), *pixels]),
        pictures.png([header, (b"iCCP", b"icc\0\0" + zlib.compress(profile)), *pixels]),
        pictures.tiff([(256, 4, 1, 80), (257, 4, 1, 64), (270, 2, len(text), 50)], text + bytes(6000)),
    ]


def baited(call: Call, address: str) -> Iterator[bytes]:
    """Valid requests with the address in one field of text or bytes each; of jobs, which take long, in text alone."""
    for message in valid(call):
        for path in paths(call.request.DESCRIPTOR):
            texts = baits(address) if path[-1].type == FieldDescriptor.TYPE_STRING else []
            contents = files(address) if path[-1].type == FieldDescriptor.TYPE_BYTES and not call.streams else []
            for value in [*texts, *contents]:
                request = call.request()
                request.CopyFrom(message)
                put(request, path, value)
                yield request.SerializeToString()


def test_no_address_in_a_request_is_followed(service: Service, web: RemoveBgServer) -> None:
    address = web.endpoint.removesuffix("/v1.0") + "/bait"
    metadata = tuple((f"x-bait-{number}", bait) for number, bait in enumerate(baits(address)))
    metadata += (("referer", address), ("x-callback", address), ("x-forwarded-host", address))
    web.paths.clear()
    count = 0
    with grpc.insecure_channel(service.target, options=CHANNEL_OPTIONS) as channel:
        for call in calls(service.name):
            for data in baited(call, address):
                assert send(channel, Case(call=call, data=data, origin="bait"), 30).faults == ()
                count += 1
            with contextlib.suppress(grpc.RpcError):
                if not call.streams:
                    single: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(call.path)
                    single(b"", timeout=10, metadata=metadata)
    assert count > 50
    # The operator's own address alone: valid requests for remove.bg are among those above.
    assert set(web.paths) <= {"/v1.0/removebg", "/v1.0/account"}
    assert bool(web.paths) == (service.name == "preprocess")
    log = service.log.read_text()
    assert KEY not in log


def test_a_redirection_is_not_followed(tmp_path: Path) -> None:
    """Nor one by remove.bg itself to somewhere else."""
    moved = Answer(status=302, headers={"Location": "/elsewhere"})
    with RemoveBgServer([moved]).running() as web:
        settings = {"PAINTERLY_REMOVE_BG_ENDPOINT": web.endpoint, "PAINTERLY_REMOVE_BG_API_KEY": KEY}
        with serving("preprocess", tmp_path, **settings) as service:
            request = pb.RemoveBackgroundRequest(
                photo=image_pb2.Image(data=pictures.honest()["composite"]),
                background_removal=pb.BackgroundRemoval(method=pb.BACKGROUND_REMOVAL_METHOD_REMOVE_BG),
            )
            with grpc.insecure_channel(service.target) as channel, pytest.raises(grpc.RpcError) as caught:
                PreprocessServiceStub(channel).RemoveBackground(request, timeout=20)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert web.paths == ["/v1.0/removebg"]
