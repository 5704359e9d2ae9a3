"""Fetching from a URL: a real server on loopback, with real faults."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from painterly.weights import (
    FetchPhase,
    FetchProgress,
    Network,
    Transfer,
    UrlSource,
    WeightsCorrupt,
    WeightStore,
    WeightsUnobtainable,
)
from tests.weights.kit import Fault, FileServer, plain_network, sha256

BODY = os.urandom(700_001)
HALF = 5 << 16
QUICK = Transfer(connect_timeout_s=2.0, read_timeout_s=0.3, attempts=2, backoff_s=0.01)


def _store(directory: Path, *sources: UrlSource, transfer: Transfer = QUICK) -> WeightStore:
    network: Network = plain_network("net", *sources)
    return WeightStore(directory / "store", manifest={"net": network}, transfer=transfer)


def _source(server: FileServer, path: str = "/net") -> UrlSource:
    return UrlSource(url=server.url(path), sha256=sha256(BODY))


def _reason(store: WeightStore) -> str:
    with pytest.raises(WeightsUnobtainable) as caught:
        store.fetch("net")
    assert not (store.directory / "net.bin").exists()
    return caught.value.failures[-1][1]


def test_fetched_once(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    store = _store(tmp_path, _source(file_server))
    path = store.fetch("net")
    assert path.read_bytes() == BODY
    assert path.stat().st_mode & 0o777 == 0o644
    assert store.fetch("net") == path
    assert file_server.requests == [("/net", None)]
    assert store.status("net").obtained_from == file_server.url("/net")
    assert [entry.name for entry in (store.directory / ".fetch").iterdir()] == ["net.lock"]


def test_progress_ends_at_the_total(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    seen: list[FetchProgress] = []
    _store(tmp_path, _source(file_server)).fetch("net", on_progress=seen.append)
    assert {progress.phase for progress in seen} == {FetchPhase.DOWNLOADING}
    received = [progress.received_bytes for progress in seen]
    assert received == sorted(received)
    assert len(received) > 5
    assert seen[-1] == FetchProgress(
        name="net",
        phase=FetchPhase.DOWNLOADING,
        source=file_server.url("/net"),
        received_bytes=len(BODY),
        total_bytes=len(BODY),
    )


def test_broken_connection_is_continued(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    file_server.faults += [Fault(cut_after=HALF), Fault(cut_after=HALF)]
    assert _store(tmp_path, _source(file_server)).fetch("net").read_bytes() == BODY
    assert file_server.ranges == [None, f"bytes={HALF}-", f"bytes={2 * HALF}-"]


def test_stalled_connection_is_continued(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    file_server.faults += [Fault(stall_after=HALF)]
    assert _store(tmp_path, _source(file_server)).fetch("net").read_bytes() == BODY
    assert file_server.ranges == [None, f"bytes={HALF}-"]


def test_slow_server_is_waited_for(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    file_server.faults += [Fault(pause_s=0.05)]
    assert _store(tmp_path, _source(file_server)).fetch("net").read_bytes() == BODY
    assert file_server.ranges == [None]


def test_ignored_range_starts_again(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    file_server.ignores_range = True
    file_server.faults += [Fault(cut_after=HALF)]
    assert _store(tmp_path, _source(file_server)).fetch("net").read_bytes() == BODY
    assert file_server.ranges == [None, f"bytes={HALF}-"]


def test_server_that_always_breaks_off_is_given_up(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    file_server.ignores_range = True
    file_server.faults += [Fault(cut_after=HALF)] * 10
    reason = _reason(_store(tmp_path, _source(file_server)))
    assert "2 attempts in a row without progress" in reason
    assert len(file_server.requests) == 3


def test_next_fetch_continues_what_an_error_left(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    file_server.faults += [Fault(cut_after=HALF), Fault(status=503), Fault(status=503)]
    store = _store(tmp_path, _source(file_server))
    assert "HTTP status 503" in _reason(store)
    assert store.fetch("net").read_bytes() == BODY
    assert file_server.ranges[-1] == f"bytes={HALF}-"


def test_whole_download_of_an_unfinished_fetch_is_not_repeated(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    store = _store(tmp_path, _source(file_server))

    def interrupt(progress: FetchProgress) -> None:
        if progress.received_bytes == len(BODY):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.fetch("net", on_progress=interrupt)
    received: list[int] = []
    store.fetch("net", on_progress=lambda progress: received.append(progress.received_bytes))
    assert received == []
    assert file_server.ranges == [None, f"bytes={len(BODY)}-"]


def test_remains_of_another_file_are_thrown_away(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY[::-1]
    file_server.faults += [Fault(cut_after=HALF), Fault(status=500), Fault(status=500)]
    store = _store(tmp_path, _source(file_server))
    assert "HTTP status 500" in _reason(store)
    file_server.files["/net"] = BODY
    assert store.fetch("net").read_bytes() == BODY
    assert file_server.ranges[-2:] == [f"bytes={HALF}-", None]


def test_remains_longer_than_the_file_are_thrown_away(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY + bytes(2 * HALF)
    file_server.faults += [Fault(cut_after=len(BODY) + HALF), Fault(status=500), Fault(status=500)]
    store = _store(tmp_path, _source(file_server))
    _reason(store)
    file_server.files["/net"] = BODY
    assert store.fetch("net").read_bytes() == BODY
    assert file_server.ranges[-1] is None


def test_missing_file_is_reported_at_once(file_server: FileServer, tmp_path: Path) -> None:
    assert _reason(_store(tmp_path, _source(file_server))) == "HTTP status 404 Not Found"
    assert len(file_server.requests) == 1


def test_busy_server_is_asked_again(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    file_server.faults += [Fault(status=503)]
    assert _store(tmp_path, _source(file_server)).fetch("net").read_bytes() == BODY


def test_wrong_bytes_are_refused(file_server: FileServer, tmp_path: Path) -> None:
    wrong = b"sign in to continue"
    file_server.files["/net"] = wrong
    reason = _reason(_store(tmp_path, _source(file_server)))
    assert sha256(wrong) in reason
    assert sha256(BODY) in reason
    assert len(file_server.requests) == 1


def test_wrong_size_is_refused_before_the_download(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY[:-1]
    source = UrlSource(url=file_server.url("/net"), sha256=sha256(BODY), size_bytes=len(BODY))
    assert _reason(_store(tmp_path, source)) == "offers 700000 bytes where 700001 are expected"


def test_second_source_is_tried(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files |= {"/first": b"wrong", "/second": BODY}
    store = _store(tmp_path, _source(file_server, "/first"), _source(file_server, "/second"))
    assert store.fetch("net").read_bytes() == BODY
    assert store.status("net").obtained_from == file_server.url("/second")


def test_error_lists_every_source_and_why(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/second"] = b"wrong"
    refused = UrlSource(url="http://127.0.0.1:1/x", sha256=sha256(BODY))
    store = _store(tmp_path, _source(file_server, "/first"), _source(file_server, "/second"), refused)
    with pytest.raises(WeightsUnobtainable) as caught:
        store.fetch("net")
    labels = [label for label, _ in caught.value.failures]
    assert labels == [file_server.url("/first"), file_server.url("/second"), "http://127.0.0.1:1/x"]
    reasons = [reason for _, reason in caught.value.failures]
    assert "404" in reasons[0]
    assert "wrong bytes" in reasons[1]
    assert "the connection failed" in reasons[2]
    assert all(text in str(caught.value) for text in (*labels, *reasons, "painterly weights fetch net --from FILE"))


def test_prefix_of_a_checksum_suffices_where_no_more_is_known(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    right = UrlSource(url=file_server.url("/net"), sha256_prefix=sha256(BODY)[:8])
    wrong = UrlSource(url=file_server.url("/net"), sha256_prefix=sha256(BODY[1:])[:8])
    store = _store(tmp_path / "wrong", wrong)
    assert f"expected {sha256(BODY[1:])[:8]}…" in _reason(store)
    source = UrlSource(url=file_server.url("/net"), sha256_prefix=right.sha256_prefix)
    with pytest.raises(WeightsCorrupt, match="is none that is known"):
        _store(tmp_path / "right", source).fetch("net")


def test_corrupt_file_is_replaced(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    store = _store(tmp_path, _source(file_server))
    path = store.fetch("net")
    path.write_bytes(BODY[:-1])
    with pytest.raises(WeightsCorrupt):
        store.path("net")
    assert store.fetch("net").read_bytes() == BODY
    assert len(file_server.requests) == 2


def test_whole_file_in_a_read_only_store_is_left_alone(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    store = _store(tmp_path, _source(file_server))
    path = store.fetch("net")
    shutil.rmtree(store.directory / ".fetch")
    (store.directory / ".fetch").write_text("nothing can be written below")
    assert store.fetch("net") == path


def test_failed_fetch_leaves_the_corrupt_file_refused(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    store = _store(tmp_path, _source(file_server))
    path = store.fetch("net")
    path.write_bytes(b"broken")
    file_server.files.clear()
    with pytest.raises(WeightsUnobtainable):
        store.fetch("net")
    with pytest.raises(WeightsCorrupt):
        store.path("net")


def test_store_that_cannot_be_written_is_named(file_server: FileServer, tmp_path: Path) -> None:
    file_server.files["/net"] = BODY
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(WeightsUnobtainable, match="cannot be written") as caught:
        _store(tmp_path, _source(file_server)).fetch("net")
    assert str(tmp_path / "store") in caught.value.failures[0][0]
    assert "set PAINTERLY_WEIGHTS_DIR to a folder that can be written" in str(caught.value)
    assert "--from" not in str(caught.value)
