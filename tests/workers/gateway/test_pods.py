"""A pod's token opens its own attempt; what comes is laid whole or not at all, and nowhere else."""

from __future__ import annotations

import contextlib
import io
import socket
import tarfile
from pathlib import Path

import httpx
import pytest

from nordan_workers.gateway.pod_files import PodFiles, Received
from nordan_workers.pod.archive import Limits, Reader
from nordan_workers.pod.folders import Laying
from support.attempts import until
from support.gateways import MAX_UPLOAD_BYTES, GatewayUnderTest
from support.pods import PodAttempt, PodCaller, laid, packed


@pytest.fixture
def attempt(gateway: GatewayUnderTest) -> PodAttempt:
    return PodAttempt(gateway.folder, (0, 1), {"SECRET": "s3"})


@pytest.fixture
def caller(gateway: GatewayUnderTest, attempt: PodAttempt) -> PodCaller:
    return PodCaller(gateway.http, attempt)


ROUTES = [
    ("GET", "/ranks/0/stage"),
    ("POST", "/ranks/0:sync"),
    ("PUT", "/ranks/0/log?offset=0"),
    ("GET", "/files"),
    ("PUT", "/checkpoints/step?mark=1"),
    ("DELETE", "/checkpoints/step"),
    ("PUT", "/outputs"),
    ("POST", "/outputs:refuse"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_only_the_attempts_own_token_opens_it(
    gateway: GatewayUnderTest, attempt: PodAttempt, method: str, path: str
) -> None:
    other = PodAttempt(gateway.folder)
    for token in ("wrong", other.token, attempt.token[:-1], attempt.token.upper() + "x"):
        answer = PodCaller(gateway.http, attempt, token).call(method, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_wrong")
    bare = gateway.http.request(method, f"/v1/pods/{attempt.id}{path}")
    assert (bare.status_code, bare.json()["code"]) == (401, "token_wrong")
    access = gateway.token(f"attempt:{attempt.id}")
    assert gateway.http.request(method, f"/v1/pods/{attempt.id}{path}", headers=access).status_code == 401


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_an_attempt_that_is_forgotten_is_gone_for_its_pods(
    attempt: PodAttempt, caller: PodCaller, method: str, path: str
) -> None:
    attempt.forget()
    answer = caller.call(method, path)
    assert (answer.status_code, answer.json()["code"]) == (404, "pod_gone")


def test_a_folder_that_is_not_mounted_does_not_count_as_gone(gateway: GatewayUnderTest, caller: PodCaller) -> None:
    attempts = gateway.folder / "attempts"
    attempts.rename(gateway.folder / "elsewhere")
    try:
        assert caller.call("GET", "/files").status_code == 503
    finally:
        (gateway.folder / "elsewhere").rename(attempts)


@pytest.mark.parametrize("name", ["att_..", "..", "%2e%2e", "att_", "job_01m8j8gnc7de077t255fp7abjd"])
def test_what_is_no_attempts_id_is_not_looked_for(gateway: GatewayUnderTest, name: str) -> None:
    answer = gateway.http.get(f"/v1/pods/{name}/files", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/ranks/2/stage", "/ranks/99/log?offset=0", "/ranks/2:sync", "/ranks/-1:sync"])
def test_a_rank_that_the_attempt_does_not_have_is_not_found(caller: PodCaller, path: str) -> None:
    method = "POST" if "sync" in path else "PUT" if "log" in path else "GET"
    assert caller.call(method, path, b'{"state": "running"}').status_code == 404


def test_what_was_staged_is_sent_whole(attempt: PodAttempt, caller: PodCaller, tmp_path: Path) -> None:
    own = attempt.work.ranks[1]
    attempt.make_folders()
    (attempt.work.inputs / "digits").mkdir()
    (attempt.work.inputs / "digits" / "a.bin").write_bytes(b"a" * 700_000)
    (attempt.work.inputs / "digits").chmod(0o550)
    (own.cwd / "train.py").write_text("print()")
    (own.cwd / "train.py").chmod(0o755)
    (own.checkpoints / "step-1").write_text("1")
    (attempt.work.ranks[0].cwd / "other-rank").write_text("not for rank 1")
    answer = caller.call("GET", "/ranks/1/stage")
    laying = Laying(tmp_path)
    reader = Reader(laying, Limits(1 << 30, 100))
    reader.feed(answer.content)
    reader.finish()
    laying.complete()
    assert sorted(laid(tmp_path)) == ["checkpoints/step-1", "inputs/digits/a.bin", "rank/train.py"]
    assert (tmp_path / "rank/train.py").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "inputs/digits").stat().st_mode & 0o777 == 0o550
    # Any tar reads it.
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        names = tar.getnames()
    assert names[:2] == ["inputs/digits", "inputs/digits/a.bin"]


def test_an_agent_is_told_what_is_left_of_the_grant(attempt: PodAttempt, caller: PodCaller) -> None:
    attempt.deadline(45)
    answer = caller.sync()
    assert 40 < answer["ttl_s"] <= 45
    assert answer["stop"] is None
    assert "start" not in answer
    assert 1 <= answer["next_s"] <= 5
    attempt.deadline(-3)
    assert -6 < caller.sync()["ttl_s"] <= -3


def test_an_agent_is_told_to_stop(attempt: PodAttempt, caller: PodCaller) -> None:
    attempt.stop(7.5)
    stop = caller.sync()["stop"]
    assert -5 < stop["after_s"] <= 0
    assert stop["grace_s"] == 7.5


def test_the_jobs_variables_are_told_before_the_start_only(caller: PodCaller) -> None:
    assert caller.sync("waiting")["start"] == {"SECRET": "s3", "NORDAN_NODE_RANK": "0"}
    assert "start" not in caller.sync("running")
    assert "start" not in caller.sync("ended")


def test_a_deadline_of_another_machine_is_not_told(attempt: PodAttempt, caller: PodCaller) -> None:
    attempt.deadline(60, boot_id="another")
    answer = caller.call("POST", "/ranks/0:sync", b'{"state": "running"}')
    assert (answer.status_code, answer.json()["code"]) == (503, "deadline_unknown")


def test_the_agents_word_is_written_down(attempt: PodAttempt, caller: PodCaller) -> None:
    caller.sync("running", rank=1)
    said = attempt.said(1)
    assert said is not None
    assert (said.state, said.exit) == ("running", "")
    caller.sync("ended", rank=1, exit='{"exit_code": 0}')
    said = attempt.said(1)
    assert said is not None
    assert (said.state, said.exit) == ("ended", '{"exit_code": 0}')
    assert attempt.said(0) is None


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b'"x"', b'{"state": "dancing"}', b'{"state": "ended", "exit": 3}', b"[" * 100_000),
        b'{"state": "ended", "exit": "%s"}' % (b"x" * 5000),
    ],
)
def test_a_malformed_word_is_refused(caller: PodCaller, body: bytes) -> None:
    assert caller.call("POST", "/ranks/0:sync", body).status_code == 422


def test_an_endless_word_is_refused(caller: PodCaller) -> None:
    assert caller.call("POST", "/ranks/0:sync", b" " * (300 * 1024)).status_code == 413


def test_a_log_grows_by_pieces_that_fit(attempt: PodAttempt, caller: PodCaller) -> None:
    assert caller.put_log(b"one\n", 0) == (200, 4)
    assert caller.put_log(b"two\n", 4) == (200, 8)
    # Sent again because the answer was lost, or by an agent that was restarted and knows nothing.
    assert caller.put_log(b"two\n", 4) == (409, 8)
    assert caller.put_log(b"", 0) == (409, 8)
    assert caller.put_log(b"later", 100) == (409, 8)
    assert attempt.log() == b"one\ntwo\n"
    assert caller.put_log(b"other rank", 0, rank=1) == (200, 10)


@pytest.mark.parametrize("offset", ["", "-1", "x", "1e3", "9" * 30, "%D9%A1"])
def test_an_offset_is_a_number(caller: PodCaller, offset: str) -> None:
    assert caller.call("PUT", f"/ranks/0/log?offset={offset}", b"x").status_code == 400


def test_a_log_does_not_grow_over_its_limit(gateway: GatewayUnderTest) -> None:
    attempt = PodAttempt(gateway.folder, limit=1000)
    caller = PodCaller(gateway.http, attempt)
    answer = caller.call("PUT", "/ranks/0/log?offset=0", b"x" * 5000)
    assert answer.json() == {"offset": 1200, "is_full": True}
    assert caller.call("PUT", "/ranks/0/log?offset=1200", b"x").json() == {"offset": 1200, "is_full": True}
    assert len(attempt.log()) == 1200


def test_a_log_that_is_a_link_is_not_followed(attempt: PodAttempt, caller: PodCaller, tmp_path: Path) -> None:
    attempt.make_folders()
    (attempt.region_dir / "logs" / attempt.id / "rank-0.log").symlink_to(tmp_path / "elsewhere")
    assert caller.call("PUT", "/ranks/0/log?offset=0", b"x").status_code == 422
    assert not (tmp_path / "elsewhere").exists()


def test_a_piece_of_a_log_has_a_limit(attempt: PodAttempt, caller: PodCaller) -> None:
    # A gateway that has answered reads no further, which its client may meet as a broken connection.
    with contextlib.suppress(httpx.TransportError):
        assert caller.call("PUT", "/ranks/0/log?offset=0", bytes(5 << 20)).status_code == 413
    assert attempt.log() == b""


def test_a_checkpoint_lands_where_its_program_would_have_put_it(attempt: PodAttempt, caller: PodCaller) -> None:
    files = {"step-1": None, "step-1/model.bin": b"m" * 3000, "step-1/opt": None, "step-1/opt/state": b""}
    assert caller.put_checkpoint("step-1", files) == (201, "")
    assert caller.put_checkpoint("step-2.pt", {"step-2.pt": b"file"}) == (201, "")
    assert attempt.checkpoints == {"step-1/model.bin": b"m" * 3000, "step-1/opt/state": b"", "step-2.pt": b"file"}
    assert attempt.half_made == []


def test_a_checkpoint_that_is_sent_again_stays_what_it_was(attempt: PodAttempt, caller: PodCaller) -> None:
    caller.put_checkpoint("step-1", {"step-1": b"first"}, mark="7-1")
    before = (attempt.work.ranks[0].checkpoints / "step-1").stat()
    answer = caller.call("PUT", "/checkpoints/step-1?mark=7-1", packed({"step-1": b"first"}))
    assert (answer.status_code, answer.json()) == (200, {"is_new": False})
    after = (attempt.work.ranks[0].checkpoints / "step-1").stat()
    # The supervisor tells checkpoints apart by these: it would publish this one twice.
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_new_checkpoint_under_an_old_name_takes_its_place(attempt: PodAttempt, caller: PodCaller) -> None:
    caller.put_checkpoint("last", {"last": None, "last/a": b"1", "last/b": b"1"}, mark="1")
    assert caller.put_checkpoint("last", {"last": None, "last/a": b"2"}, mark="2") == (201, "")
    assert attempt.checkpoints == {"last/a": b"2"}
    assert attempt.half_made == []
    assert caller.call("GET", "/files").json()["checkpoints"] == {"last": "2"}


def test_a_checkpoint_that_its_program_removed_goes_away(attempt: PodAttempt, caller: PodCaller) -> None:
    attempt.make_folders()
    (attempt.work.ranks[0].checkpoints / "resumed").write_text("laid by the supervisor")
    for name in ("one", "two"):
        caller.put_checkpoint(name, {name: b"x"})
    for name in ("one", "never-came", "resumed", "..%2f..%2frank-0"):
        caller.call("DELETE", f"/checkpoints/{name}")
    assert sorted(attempt.checkpoints) == ["resumed", "two"]
    assert caller.call("GET", "/files").json()["checkpoints"] == {"two": "1"}


@pytest.mark.parametrize("name", [".hidden", "half.tmp", "a%0Ab", "x" * 256])
def test_what_is_no_finished_checkpoint_is_refused(attempt: PodAttempt, caller: PodCaller, name: str) -> None:
    assert caller.put_checkpoint(name, {"x": b""}) == (422, "bad_name")
    assert attempt.checkpoints == {}


def test_outputs_take_the_place_of_what_was_there(attempt: PodAttempt, caller: PodCaller) -> None:
    assert caller.put_outputs({"model.pt": b"half"}) == (201, "")
    assert caller.put_outputs({"model.pt": b"whole", "logs": None, "logs/x": b"1"}) == (201, "")
    assert attempt.outputs == {"model.pt": b"whole", "logs/x": b"1"}
    assert attempt.half_made == []
    assert caller.call("GET", "/files").json()["has_outputs"] is True


def test_empty_outputs_are_outputs(attempt: PodAttempt, caller: PodCaller) -> None:
    assert caller.put_outputs({}) == (201, "")
    assert attempt.outputs == {}


def test_outputs_that_cannot_be_kept_are_noted_for_the_supervisor(attempt: PodAttempt, caller: PodCaller) -> None:
    assert caller.call("POST", "/outputs:refuse", b'{"code": "link_out"}').status_code == 201
    noted = attempt.work.root / "outputs-0.refused"
    assert noted.read_text() == "a link leads out of the folder"
    assert caller.call("POST", "/outputs:refuse", b'{"code": "my own text"}').status_code == 422


@pytest.mark.parametrize("way", ["checkpoint", "outputs", "refusal"])
def test_what_comes_for_an_attempt_that_is_forgotten_meanwhile_leaves_nothing(
    attempt: PodAttempt, caller: PodCaller, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def late(files: PodFiles) -> Received:
        attempt.forget()
        return received(files)

    received = PodFiles.received
    monkeypatch.setattr(PodFiles, "received", late)
    # Let in before, and forgotten when all was laid.
    answers = {
        "checkpoint": lambda: caller.put_checkpoint("one", {"one": b"x"}),
        "outputs": lambda: caller.put_outputs({"a": b"x"}),
        "refusal": lambda: _answer(caller.call("POST", "/outputs:refuse", b'{"code": "link_out"}')),
    }
    assert answers[way]() == (404, "pod_gone")
    assert not attempt.work.root.exists()


def _answer(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def standard(*members: tarfile.TarInfo, tail: bytes = b"") -> bytes:
    """Return an archive as another program makes it, its seal being none."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for one in members:
            tar.addfile(one, io.BytesIO(bytes(one.size)))
    return file.getvalue() + tail


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


GOOD = packed({"a": b"1" * 2000, "b": b"2"})
UNSAFE = {
    "a symbolic link": standard(member("a", tarfile.SYMTYPE, link="/etc/passwd")),
    "a hard link": standard(member("a", tarfile.LNKTYPE, link="../../pod.json")),
    "a character device": standard(member("a", tarfile.CHRTYPE)),
    "a block device": standard(member("a", tarfile.BLKTYPE)),
    "a pipe": standard(member("a", tarfile.FIFOTYPE)),
    "a sparse file": standard(member("a", tarfile.GNUTYPE_SPARSE)),
    "a global header": standard(member("a", tarfile.XGLTYPE)),
    "a path upwards": packed({"../escaped": b"x"}),
    "a path upwards inside": packed({"a/../../escaped": b"x"}),
    "an absolute path": packed({"/tmp/escaped": b"x"}),
    "a path with an empty part": packed({"a//b": b"x"}),
    "a path with a dot": packed({"./a": b"x"}),
    "an endless path": packed({"a" * 2000: b"x"}),
    "a part of a path that no disk takes": packed({"a" * 300: b"x"}),
    "a file over a file": packed({"a": b"1"}) and packed({"a": b"1", "a/b": b"2"}),
    "a folder over a file": packed({"a/b": b"1", "a": b"2"}),
    "a path with NUL": packed({"a\0b": b"x"}),
    "no seal": standard(member("a")),
    "a cut archive": GOOD[:1500],
    "an archive cut before its seal": GOOD[:-2048],
    "no archive": b"hello" * 1000,
    "nothing": b"",
    "changed bytes": GOOD[:600] + b"X" + GOOD[601:],
    "a changed seal": GOOD[:-1536] + b"x" * 4 + GOOD[-1532:],
    "depth without end": packed({"/".join("d" * 100): b"x"}),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_an_unsafe_archive_leaves_nothing(attempt: PodAttempt, caller: PodCaller, case: str) -> None:
    caller.put_outputs({"before": b"1"})
    assert caller.put_outputs(UNSAFE[case]) == (422, "unsafe_archive")
    assert attempt.outputs == {"before": b"1"}
    assert attempt.half_made == []
    assert not (attempt.work.root / "escaped").exists()


def test_an_archive_over_the_limit_leaves_nothing(attempt: PodAttempt, caller: PodCaller) -> None:
    assert caller.put_outputs({"a": bytes(MAX_UPLOAD_BYTES), "b": b"x"}) == (422, "unsafe_archive")
    assert (attempt.outputs, attempt.half_made) == ({}, [])


def test_a_checkpoint_brings_nothing_beside_itself(attempt: PodAttempt, caller: PodCaller) -> None:
    for files in ({"step-1": b"1", "step-2": b"2"}, {"step-10/x": b"1"}, {}):
        assert caller.put_checkpoint("step-1", files) == (422, "unsafe_archive")
    assert (attempt.checkpoints, attempt.half_made) == ({}, [])


def test_a_body_that_breaks_off_leaves_nothing(
    gateway: GatewayUnderTest, attempt: PodAttempt, caller: PodCaller
) -> None:
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    head = f"PUT /v1/pods/{attempt.id}/outputs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {attempt.token}\r\n"
    with socket.create_connection((host, int(port))) as half:
        half.sendall(head.encode() + b"Content-Length: 100000\r\n\r\n" + GOOD[:1700])
        until(lambda: attempt.half_made != [], "the half is laid")
    until(lambda: attempt.half_made == [], "the half is gone")
    assert attempt.outputs == {}
    assert caller.call("GET", "/files").json()["has_outputs"] is False


def test_what_a_killed_gateway_left_goes_with_the_next_arrival(attempt: PodAttempt, caller: PodCaller) -> None:
    attempt.make_folders()
    left = attempt.work.root / ".incoming-1234"
    left.mkdir()
    (left / "half").write_text("x")
    caller.put_checkpoint("step-1", {"step-1": b"1"})
    assert attempt.half_made == []


def test_no_answer_and_no_log_tells_the_token(
    attempt: PodAttempt, caller: PodCaller, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = [caller.call(method, path, b"x").text for method, path in ROUTES]
    told = "".join(answers) + "".join(capfd.readouterr())
    assert attempt.token not in told
    assert repr(attempt.token) not in repr(attempt.said())
