"""What is remembered of files is forgotten as soon as they change, and nothing is looked at twice meanwhile."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from siod.data import cached, coco, known_files
from siod.data.annotation_sets import Full, Keep, Missing, Policy, Sparse
from siod.data.cached import state_of
from siod.data.known_files import Content, KnownFiles
from siod.data.resized import clear
from siod.data.source import CocoFolder, Preparation, prepare
from siod.errors import UserError

POLICIES: tuple[Policy, ...] = (Full(), Keep(), Keep(k=2), Sparse(level="easy"), Missing(fraction=0.5))


@pytest.fixture
def root(digits_folder: Path, tmp_path: Path) -> Path:
    """A data set of its own, that a test may change."""
    return shutil.copytree(digits_folder, tmp_path / "set")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts how often annotation files are read and hashed, and folders of images are listed."""
    counts = {"read": 0, "sha256_of": 0, "state_of": 0}

    def counted(owner: Any, name: str, look: Callable[[Path], Any]) -> None:
        def counting(path: Path) -> Any:
            counts[name] += 1
            return look(path)

        monkeypatch.setattr(owner, name, counting)

    counted(coco, "read", coco.read)
    counted(known_files, "sha256_of", known_files.sha256_of)
    counted(known_files, "state_of", known_files.state_of)
    return counts


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_many_sets_of_one_source_take_one_look_at_its_files(root: Path, tmp_path: Path, looks: dict[str, int]) -> None:
    preparation = Preparation(tmp_path / "cache")
    prepared = [preparation.prepare(CocoFolder(root=root), policy) for policy in POLICIES]
    assert looks == {"read": 2, "sha256_of": 2, "state_of": 2}
    alone = [prepare(CocoFolder(root=root), policy, tmp_path / "other") for policy in POLICIES]
    assert [data.fingerprint for data in prepared] == [data.fingerprint for data in alone]
    assert len({data.fingerprint for data in prepared}) == len(POLICIES)


def test_a_later_command_reads_and_hashes_nothing(root: Path, tmp_path: Path, looks: dict[str, int]) -> None:
    source = CocoFolder(root=root, longest_px=48, defects="repair")
    first = [prepare(source, policy, tmp_path / "cache") for policy in POLICIES]
    looks |= dict.fromkeys(looks, 0)
    later = Preparation(tmp_path / "cache")
    assert [later.prepare(source, policy) for policy in POLICIES] == first
    assert looks == {"read": 0, "sha256_of": 0, "state_of": 2}


def test_a_known_hash_is_taken_as_it_was_written_down(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    known = KnownFiles(tmp_path / "cache")
    assert known.sha256(path) == sha256(b"content")
    (record,) = (tmp_path / "cache" / "known").iterdir()
    record.write_text(record.read_text().replace(sha256(b"content"), "ab" * 32))
    assert known.sha256(path) == "ab" * 32


def rewritten(path: Path) -> None:
    path.write_bytes(b"2")


def rewritten_with_the_old_times(path: Path) -> None:
    stat = path.stat()
    path.write_bytes(b"2")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replaced_by_another_with_the_old_times(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"2")
    shutil.copystat(path, other)
    other.replace(path)


@pytest.mark.parametrize("change", [rewritten, rewritten_with_the_old_times, replaced_by_another_with_the_old_times])
def test_a_changed_file_is_hashed_again(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Also at once: a change in the same step of the file system's clock as the one before must not be missed."""
    path = tmp_path / "file"
    for _ in range(20):
        path.write_bytes(b"1")
        known = KnownFiles(tmp_path / "cache")
        assert known.sha256(path) == sha256(b"1")
        change(path)
        assert known.sha256(path) == KnownFiles(tmp_path / "cache").sha256(path) == sha256(b"2")


def test_where_the_clock_of_the_files_is_ahead_nothing_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1")
    behind = path.stat().st_ctime_ns - 60 * 10**9
    monkeypatch.setattr(known_files.time, "time_ns", lambda: behind)
    assert KnownFiles(tmp_path / "cache").sha256(path) == sha256(b"1")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"path": 1}', b"\xff"])
def test_a_damaged_record_is_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1")
    KnownFiles(tmp_path / "cache").sha256(path)
    (record,) = (tmp_path / "cache" / "known").iterdir()
    record.write_bytes(damage)
    assert KnownFiles(tmp_path / "cache").sha256(path) == sha256(b"1")


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    path = tmp_path / "file"
    path.write_bytes(b'{"images": [{}, {}], "info": {"annotation_set": {"policy": "keep", "k": 1}}}')
    known = KnownFiles(tmp_path / "cache")
    assert known.sha256(path) == sha256(path.read_bytes())
    assert known.content(path) == Content(2, "keep-1")


def test_what_a_file_says_follows_its_content(tmp_path: Path) -> None:
    path, known = tmp_path / "file", KnownFiles(tmp_path / "cache")
    for text, content in (
        ('{"images": [{}, {}], "info": {}}', Content(2, "")),
        ('{"images": [{}], "info": {"annotation_set": {"policy": "keep", "k": 2}}}', Content(1, "keep-2")),
        ("no JSON", Content(0, "")),
    ):
        path.write_text(text)
        assert (known.content(path), KnownFiles(tmp_path / "cache").content(path)) == (content, content)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing: No such file or directory; name a COCO annotation file"):
        KnownFiles(tmp_path / "cache").sha256(tmp_path / "nothing")


def test_a_file_that_is_written_to_while_it_is_read_is_refused_and_hashed_anew(root: Path, tmp_path: Path) -> None:
    """Its hash was remembered, and it holds something else when it is read: no set is derived under a wrong name."""
    source, cache = CocoFolder(root=root), tmp_path / "cache"
    path = root / "annotations" / "instances_train.json"
    KnownFiles(cache).sha256(path)
    (record,) = (cache / "known").iterdir()
    record.write_text(record.read_text().replace(sha256(path.read_bytes()), "ab" * 32))
    with pytest.raises(UserError, match=r"instances_train\.json: was written to while it was read; run again"):
        prepare(source, Keep(), cache)
    expected = prepare(source, Keep(), tmp_path / "other").fingerprint
    assert prepare(source, Keep(), cache).fingerprint == expected


def test_an_image_that_changes_is_seen_by_the_next_command(root: Path, tmp_path: Path) -> None:
    source, image = CocoFolder(root=root), root / "train" / "000002.jpg"
    prepare(source, Keep(), tmp_path / "cache")
    sound, stat = image.read_bytes(), image.stat()
    image.write_bytes(bytes(len(sound)))  # as long as before
    with pytest.raises(UserError, match=r"1 of 24 images cannot be used: .*000002\.jpg: does not decode"):
        prepare(source, Keep(), tmp_path / "cache")
    image.write_bytes(sound)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    prepare(source, Keep(), tmp_path / "cache")
    image.unlink()
    with pytest.raises(UserError, match=r"1 of 24 images cannot be used: .*000002\.jpg: no such image"):
        prepare(source, Keep(), tmp_path / "cache")


def test_a_sound_file_that_gets_a_defect_is_repaired(root: Path, tmp_path: Path) -> None:
    source, cache = CocoFolder(root=root, defects="repair"), tmp_path / "cache"
    path = root / "annotations" / "instances_train.json"
    assert prepare(source, Full(), cache).train == path
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"][2] = 0
    path.write_text(json.dumps(document))
    repaired = prepare(source, Full(), cache)
    assert repaired.train.parent == cache / "repaired"
    assert document["annotations"][0]["id"] not in coco.read(repaired.train).annotation_ids


def test_a_small_copy_is_found_by_what_it_was_made_of(root: Path, tmp_path: Path) -> None:
    source, cache = CocoFolder(root=root, longest_px=48), tmp_path / "cache"
    first = prepare(source, Full(), cache).copies
    assert first is not None
    clear(cache)
    assert prepare(source, Full(), cache).copies == first
    assert len(list(first.train.iterdir())) == 24
    shutil.copy(root / "train" / "000001.jpg", root / "train" / "000002.jpg")
    changed = prepare(source, Full(), cache).copies
    assert changed is not None
    assert (changed.train != first.train, changed.val) == (True, first.val)


def test_the_state_of_a_folder_is_the_one_told_before_it_was_counted_faster(tmp_path: Path) -> None:
    """Outcomes of checks are found by it: another would have every image of every user decoded again."""
    for name, time in (("b.jpg", 5), ("a/2.jpg", 6), ("a/10.jpg", 7), ("é.jpg", 8)):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        os.utime(path, ns=(0, time))
    (tmp_path / "images" / "link").symlink_to(tmp_path / "images" / "a")
    folder = tmp_path / "images"
    lines = [f"{folder}/b.jpg:5:5", f"{folder}/é.jpg:6:8", f"{folder}/a/10.jpg:8:7", f"{folder}/a/2.jpg:7:6"]
    assert state_of(folder) == sha256("".join(f"{line}\n" for line in lines).encode())


def test_the_state_of_a_folder_changes_with_each_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    states = [cached.state_of(tmp_path)]
    image = tmp_path / "below" / "a.jpg"
    for change in (
        lambda: image.write_bytes(b"1"),
        lambda: image.write_bytes(b"12"),
        lambda: os.utime(image, ns=(1, 1)),
        lambda: image.rename(tmp_path / "below" / "b.jpg"),
        lambda: (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "nothing"),
        (tmp_path / "below" / "b.jpg").unlink,
    ):
        change()
        states.append(cached.state_of(tmp_path))
    assert len(set(states)) == len(states)
