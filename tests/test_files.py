"""Files are whole or not there, also after a power cut, without hard links, and when machines see them late."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from siod.errors import UserError
from siod.files import link_or_copy, replacing, wait_until
from siod.json_file import read_json, write_json, write_packed_json

GZIP = b"\x1f\x8b\x08\x00"


def refusing(number: int) -> Callable[..., None]:
    """A call of the operating system that fails with an error number."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_file_is_on_the_disk_before_it_takes_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle: int) -> None:
        done.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().suffix or 'folder'}")
        fsync(handle)

    def note_replace(source: Path, target: Path) -> None:
        done.append(f"{Path(source).suffix} becomes {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_json(tmp_path / "folder" / "result.json", {"ap_s": 0.5})
    assert done == ["sync .tmp", ".tmp becomes result.json", "sync folder"]
    assert read_json(tmp_path / "folder" / "result.json") == {"ap_s": 0.5}


def test_a_file_that_the_disk_does_not_take_does_not_replace_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "a.json", 1)
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_json(tmp_path / "a.json", 2)
    assert read_json(tmp_path / "a.json") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_file_system_that_cannot_be_asked_to_sync_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL))
    write_json(tmp_path / "a.json", 2)
    assert read_json(tmp_path / "a.json") == 2


def test_two_writers_of_one_file_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_second_name_costs_no_second_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("whole")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").samefile(tmp_path / "b")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EXDEV, errno.EACCES, errno.ENOSYS])
def test_without_hard_links_the_second_name_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    monkeypatch.setattr(os, "link", refusing(number))
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "new"
    assert not (tmp_path / "a").samefile(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_full_disk_is_no_reason_to_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("new")
    monkeypatch.setattr(os, "link", refusing(errno.ENOSPC))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        link_or_copy(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_what_appears_late_is_waited_for_and_what_never_does_is_not_for_long(tmp_path: Path) -> None:
    late = threading.Timer(0.5, (tmp_path / "late").touch)
    late.start()
    assert wait_until((tmp_path / "late").exists, 30)
    began = time.monotonic()
    assert not wait_until((tmp_path / "never").exists, 0.5)
    assert 0.5 <= time.monotonic() - began < 10
    late.join()


@pytest.mark.parametrize("content", [b'{"identity": ', b"", b"\xff"])
def test_a_damaged_file_of_a_run_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(UserError, match=r"result\.json: is damaged \(.*\); put a copy of it back, or delete it"):
        read_json(tmp_path / "result.json")


def test_packed_data_is_read_back_and_the_same_data_are_the_same_bytes(tmp_path: Path) -> None:
    data = [{"image_id": 1, "bbox": [0.1, 2.0, 3.0, 4.0]}] * 100
    for name in ("a.json.gz", "b.json.gz"):
        write_packed_json(tmp_path / name, data)
    assert read_json(tmp_path / "a.json.gz") == data
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert (tmp_path / "a.json.gz").stat().st_size < 300
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json.gz", "b.json.gz"]


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 6]
)
def test_packed_data_that_is_damaged_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json\.gz: is damaged \(.+\); put a copy of it back, or delete it"):
        read_json(tmp_path / "a.json.gz")
