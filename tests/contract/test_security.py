"""Who gets in: certificates and tokens, good, bad, expired, renewed, against real servers."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from painterly.calls import principal_of
from painterly.configuration import ServerSettings, SettingsError
from painterly.errors import read_details
from painterly.serving import Server, listener_of
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceStub, add_PreprocessServiceServicer_to_server
from tests.certificates import Authority
from tests.client.kit import PREPROCESS_NAME, Preprocess

SERVING = health_pb2.HealthCheckResponse.SERVING


class Settings(ServerSettings):
    """A service of the tests."""

    service: ClassVar[str] = "preprocess"


@dataclass
class Place:
    """A server's files."""

    folder: Path
    authority: Authority

    @property
    def certificate(self) -> Path:
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens"

    @property
    def tls(self) -> dict[str, Any]:
        return {"tls_certificate": self.certificate, "tls_key": self.key}

    @property
    def mutual(self) -> dict[str, Any]:
        path = self.folder / "clients.pem"
        path.write_bytes(self.authority.certificate)
        return {**self.tls, "tls_client_ca": path}

    def renew(self, days: int = 30) -> None:
        self.authority.issue(days=days).write(self.certificate, self.key)

    def allow(self, *lines: tuple[str, ...]) -> Path:
        """A token file of names, tokens and, at will, services."""
        content = "".join(
            f"{name} {hashlib.sha256(token.encode()).hexdigest()} {' '.join(more)}\n" for name, token, *more in lines
        )
        fresh = self.folder / "tokens.new"
        fresh.write_text("# who may call\n\n" + content)
        fresh.replace(self.tokens)
        return self.tokens


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path, Authority())
    made.renew()
    return made


async def whoami(request: Any, context: Any) -> pb.ComposeResponse:
    """Answers with the caller's name, as the element's bytes."""
    response = pb.ComposeResponse()
    response.composite.data = principal_of(context).encode()
    return response


@contextlib.asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Server]:
    def register(server: grpc.aio.Server) -> list[str]:
        add_PreprocessServiceServicer_to_server(Preprocess(Compose=whoami), server)
        return [PREPROCESS_NAME]

    server = Server(register, listener_of(Settings(**settings)))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def channel(
    server: Server, trusted: bytes | None = None, key: bytes | None = None, certificate: bytes | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    address = f"127.0.0.1:{server.port}"
    if trusted is None:
        opened = grpc.aio.insecure_channel(address)
    else:
        opened = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(trusted, key, certificate))
    async with opened:
        yield opened


async def who(opened: grpc.aio.Channel, token: str | None = None, *more: tuple[str, str]) -> str:
    metadata = [*([("authorization", f"Bearer {token}")] if token is not None else []), *more]
    answer = await PreprocessServiceStub(opened).Compose(pb.ComposeRequest(), timeout=5, metadata=metadata)
    return str(answer.composite.data.decode())


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details = read_details(caught.value)
    return details.code, details.reason, details.message


async def is_serving(opened: grpc.aio.Channel) -> bool:
    answer = await health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=5)
    return bool(answer.status == SERVING)


async def test_a_certificate_lets_those_in_who_trust_its_authority(place: Place) -> None:
    async with running(**place.tls) as server:
        async with channel(server, place.authority.certificate) as opened:
            assert await who(opened) == "anonymous"
        async with channel(server, Authority("another").certificate) as opened:
            code, _, text = await refused(who(opened))
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "CERTIFICATE_VERIFY_FAILED" in text
        async with channel(server) as opened:
            assert (await refused(who(opened)))[0] is grpc.StatusCode.UNAVAILABLE


async def test_an_expired_certificate_is_refused_and_its_renewal_is_taken_up_without_a_restart(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    place.renew(days=-1)
    async with running(**place.tls) as server:
        async with channel(server, place.authority.certificate) as opened:
            code, _, text = await refused(who(opened))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "certificate has expired" in text
        place.renew()
        async with channel(server, place.authority.certificate) as opened:
            assert await who(opened) == "anonymous"
            assert "certificate files read again" in caplog.messages
            # What cannot be used changes nothing, neither for this connection nor for the next.
            place.certificate.write_text("not a certificate")
            assert await who(opened) == "anonymous"
        async with channel(server, place.authority.certificate) as opened:
            assert await who(opened) == "anonymous"
        place.key.unlink()
        async with channel(server, place.authority.certificate) as opened:
            assert await who(opened) == "anonymous"
    told = [message for message in caplog.messages if message.startswith("the certificate files cannot be used")]
    assert len(told) == 2


async def test_callers_must_show_a_certificate_of_the_right_authority_and_are_called_by_its_name(place: Place) -> None:
    trusted = place.authority.certificate
    async with running(**place.mutual) as server:
        guest = place.authority.issue("studio-7")
        async with channel(server, trusted, guest.key, guest.certificate) as opened:
            assert await who(opened) == "studio-7"
        odd = place.authority.issue("two words\nand a line")
        async with channel(server, trusted, odd.key, odd.certificate) as opened:
            name = await who(opened)
            assert (
                name
                == f"certificate-{hashlib.sha256(b'two words' + chr(10).encode() + b'and a line').hexdigest()[:16]}"
            )
        stranger, late = Authority().issue(), place.authority.issue(days=-1)
        for pair in (stranger, late):
            async with channel(server, trusted, pair.key, pair.certificate) as opened:
                assert (await refused(who(opened)))[0] is grpc.StatusCode.UNAVAILABLE
        async with channel(server, trusted) as opened:
            assert (await refused(who(opened)))[0] is grpc.StatusCode.UNAVAILABLE


async def test_a_token_names_its_owner(place: Place) -> None:
    place.allow(("ann", "secret-a"), ("bob", "secret-b"), ("bob", "secret-b2"))
    async with running(token_file=place.tokens) as server, channel(server) as opened:
        assert [await who(opened, token) for token in ("secret-a", "secret-b", "secret-b2")] == ["ann", "bob", "bob"]
        assert await who(opened, None, ("authorization", "bearer  secret-a")) == "ann"


async def test_without_a_known_token_nobody_gets_in(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    place.allow(("ann", "secret-a"))
    async with running(token_file=place.tokens) as server, channel(server) as opened:
        assert (await refused(who(opened)))[:2] == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
        digest = hashlib.sha256(b"secret-a").hexdigest()
        for wrong in ("secret-", "secret-ab", "ann", digest, "", "x" * 2000):
            code, reason, text = await refused(who(opened, wrong))
            assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"), wrong
            assert wrong == "" or wrong not in text
        basic = ("authorization", "Basic secret-a")
        assert (await refused(who(opened, None, basic)))[1] == "TOKEN_INVALID"
        twice = ("authorization", "Bearer other")
        assert (await refused(who(opened, "secret-a", twice)))[1] == "TOKEN_INVALID"
    assert "secret" not in caplog.text.replace("TOKEN", "")


async def test_health_is_exempt_and_reflection_is_off(place: Place) -> None:
    place.allow(("ann", "secret-a"))
    async with running(token_file=place.tokens) as server, channel(server) as opened:
        assert await is_serving(opened)
        reflect = reflection_pb2_grpc.ServerReflectionStub(opened).ServerReflectionInfo
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reflect(requests, timeout=5, metadata=[("authorization", "Bearer secret-a")]).read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        # A stranger does not even learn which methods there are.
        unknown: Any = opened.unary_unary("/painterly.v1.Nothing/Do")
        assert (await refused(unknown(b"", timeout=5)))[:2] == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


async def test_a_token_may_be_good_for_one_service_alone(place: Place) -> None:
    place.allow(("ann", "secret-a", "harmonize"), ("bob", "secret-b", "harmonize,preprocess"))
    async with running(token_file=place.tokens) as server, channel(server) as opened:
        assert await who(opened, "secret-b") == "bob"
        code, reason, text = await refused(who(opened, "secret-a"))
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
        assert "the token of ann is not good for the preprocess service" in text


async def test_tokens_are_rotated_without_a_restart(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    place.allow(("ann", "old"))
    async with running(token_file=place.tokens) as server, channel(server) as opened:
        assert await who(opened, "old") == "ann"
        place.allow(("ann", "old"), ("ann", "new"))
        assert [await who(opened, token) for token in ("old", "new")] == ["ann", "ann"]
        place.allow(("ann", "new"))
        assert (await refused(who(opened, "old")))[1] == "TOKEN_INVALID"
        assert await who(opened, "new") == "ann"
        place.tokens.write_text("ann no-digest")
        assert await who(opened, "new") == "ann"
        place.tokens.unlink()
        assert await who(opened, "new") == "ann"
    told = [message for message in caplog.messages if "token file" in message]
    assert [message.partition(":")[0] for message in told] == [
        "token file read again",
        "token file read again",
        "the token file cannot be used, the tokens known before stay",
        "the token file cannot be used, the tokens known before stay",
    ]
    assert "no-digest" not in caplog.text


async def test_certificates_and_tokens_together(place: Place) -> None:
    place.allow(("ann", "secret-a"))
    guest = place.authority.issue("studio-7")
    async with (
        running(token_file=place.tokens, **place.mutual) as server,
        channel(server, place.authority.certificate, guest.key, guest.certificate) as opened,
    ):
        assert await who(opened, "secret-a") == "ann"
        assert (await refused(who(opened)))[1] == "TOKEN_MISSING"


def test_faulty_files_are_told_together_and_without_their_content(place: Place) -> None:
    place.tokens.write_text("ann abc\nbob " + "0" * 64 + " paint\n" + "x" * 200 + " " + "0" * 64 + "\n")
    place.key.write_bytes(place.authority.issue().key)
    with pytest.raises(SettingsError) as caught:
        listener_of(Settings(token_file=place.tokens, **place.mutual))
    line = "must be a name, the sha256 of a token in 64 lower-case hex digits and, if it is not good for all, services"
    assert caught.value.faults == (
        f"{place.certificate} and {place.key} must be a certificate and its key, in PEM and not encrypted: "
        "KEY_VALUES_MISMATCH",
        f"{place.tokens} line 1 {line} such as preprocess,harmonize",
        f"{place.tokens} line 2 must name services among preprocess, harmonize",
        f"{place.tokens} line 3 {line} such as preprocess,harmonize",
    )
    place.tokens.write_text("# nobody\n")
    with pytest.raises(SettingsError, match="must hold at least one token"):
        listener_of(Settings(token_file=place.tokens))
    authorities = place.mutual["tls_client_ca"]
    authorities.write_text("nothing")
    place.renew()
    with pytest.raises(SettingsError, match="must hold certificates in PEM"):
        listener_of(Settings(**place.tls, tls_client_ca=authorities))


@pytest.mark.parametrize(
    ("host", "tls", "tokens", "words"),
    [
        ("127.0.0.1", False, False, None),
        ("0.0.0.0", False, False, "everybody who reaches this server may call it, and everybody on the way"),
        ("0.0.0.0", True, False, "everybody who reaches this server may call it"),
        ("0.0.0.0", False, True, "without TLS everybody on the way can read the tokens"),
        ("0.0.0.0", True, True, None),
    ],
)
def test_an_operator_is_told_what_is_open(place: Place, host: str, tls: bool, tokens: bool, words: str | None) -> None:
    more: dict[str, Any] = {**(place.tls if tls else {})}
    if tokens:
        more["token_file"] = place.allow(("ann", "secret-a"))
    warning = listener_of(Settings(host=host, insecure=True, **more)).warning()
    assert warning is None if words is None else words in str(warning)
