"""The chunk store: what is put is found, whatever is forgotten around it, and rot is never passed on."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hotdesk.core.errors import Kind, Refused
from hotdesk.snapshots import chunk_store
from hotdesk.snapshots.chunk_store import Store, no_space, opened
from hotdesk.snapshots.pack_file import Damaged, Frame, digest, read_chunks, read_pack
from hotdesk.snapshots.snapshot import forget
from hotdesk.snapshots.tree import Entry, Manifest, save_manifest


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def put(store: Store, *datas: bytes) -> list[bytes]:
    """Store these as one frame; those that were there already are left out."""
    names = [digest(data) for data in datas]
    fresh = [(name, data) for name, data in zip(names, datas, strict=True) if store.claim(name)]
    if fresh:
        store.put(fresh)
    return names


def get(store: Store, name: bytes) -> bytes:
    pack, number = store.place(name)
    data = memoryview(read_chunks(pack, number))
    return next(bytes(data[a:b]) for found, a, b in pack.frames[number].chunks() if found == name)


def pack_files(folder: Path) -> list[Path]:
    return sorted((folder / "packs").glob("*.pack"))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 16
    path.write_bytes(data)


def test_what_is_put_is_found_after_the_seal(tmp_path: Path) -> None:
    datas = [b"one", b"", b"words " * 1000, noise(2000)]
    with opened(tmp_path / "store") as store:
        names = put(store, *datas)
        assert pack_files(tmp_path / "store") == [], "nothing has a name before it is whole"
        store.seal()
    with opened(tmp_path / "store") as store:
        assert [get(store, name) for name in names] == datas
        assert not store.missing(names)


def test_an_unsealed_pack_is_swept_and_never_read(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        put(store, b"lost")
    assert list((tmp_path / "store" / "packs").iterdir()) == []
    (tmp_path / "store" / "packs" / "new-leftover").write_bytes(b"of a kill")
    with opened(tmp_path / "store") as store:
        assert store.missing([digest(b"lost")])
    assert list((tmp_path / "store" / "packs").iterdir()) == []


def test_a_temporary_pack_of_somebody_at_work_is_not_swept(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as first:
        names = put(first, noise(1000))
        with opened(tmp_path / "store"):
            pass
        first.seal()
    with opened(tmp_path / "store") as store:
        assert get(store, names[0]) == noise(1000)


def test_the_same_chunk_is_written_once_by_any_number_of_threads(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        claimed: list[bool] = []
        barrier = threading.Barrier(6)

        def claim() -> None:
            barrier.wait()
            claimed.append(store.claim(digest(b"x")))

        threads = [threading.Thread(target=claim) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(claimed) == [False] * 5 + [True]


def test_noise_is_stored_as_it_is_and_text_is_packed(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        put(store, noise(100_000))
        put(store, b"text " * 20_000)
        store.seal()
    with opened(tmp_path / "store") as store:
        frames = [frame for pack in store.packs.values() for frame in pack.frames]
        assert sorted((bool(frame.packed), frame.stored < 5000) for frame in frames) == [
            (False, False),
            (True, True),
        ]


def test_every_flipped_bit_and_every_cut_of_a_pack_is_noticed(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        put(store, b"some words that repeat, words that repeat " * 3, b"and more")
        put(store, noise(40))
        store.seal()
    (path,) = pack_files(tmp_path / "store")
    good = path.read_bytes()

    def is_noticed() -> bool:
        try:
            pack = read_pack(path)
            for number in range(len(pack.frames)):
                read_chunks(pack, number)
        except Damaged as damage:
            return str(path) in str(damage)
        return False

    assert not is_noticed()
    for at in range(len(good)):
        flip(path, at)
        assert is_noticed(), at
        path.write_bytes(good)
    for length in range(len(good)):
        path.write_bytes(good[:length])
        assert is_noticed(), length
    path.write_bytes(good)
    path.rename(path.with_name("0" * 64 + ".pack"))
    path = path.with_name("0" * 64 + ".pack")
    assert is_noticed(), "a pack under the name of another"


def test_a_pack_of_a_killed_capture_is_read_back_before_it_is_built_upon(tmp_path: Path) -> None:
    """1. a capture finishes a pack and is killed; 2. the pack rots; 3. the next capture needs its chunks."""
    with opened(tmp_path / "store") as store:
        put(store, noise(5000), noise(5000, 2))
        store.seal()
    (bad,) = pack_files(tmp_path / "store")
    flip(bad, 2000)
    with opened(tmp_path / "store") as store:
        names = put(store, noise(5000), noise(5000, 2))
        store.seal()
    with opened(tmp_path / "store") as store:
        store.check(list(store.packs.values()))
        assert [get(store, name) for name in names] == [noise(5000), noise(5000, 2)]


def test_packs_that_were_read_back_are_not_read_again_until_they_change(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        put(store, noise(5000))
        store.seal()

    def checked() -> int:
        with opened(tmp_path / "store") as store:
            store.check(list(store.packs.values()))
            return store.bytes_read

    (path,) = pack_files(tmp_path / "store")
    assert [checked(), checked()] == [path.stat().st_size, 0]
    path.touch()
    assert [checked(), checked()] == [path.stat().st_size, 0]
    (tmp_path / "store" / "verified").write_bytes(b"rubbish")
    assert [checked(), checked()] == [path.stat().st_size, 0]


def test_forgetting_waits_for_those_who_add(tmp_path: Path) -> None:
    done = threading.Event()
    with opened(tmp_path / "store") as store:
        put(store, noise(100))
        store.seal()
        thread = threading.Thread(target=lambda: (forget(tmp_path / "store", []), done.set()))
        thread.start()
        assert not done.wait(0.2)
        assert len(pack_files(tmp_path / "store")) == 1
    thread.join()
    assert pack_files(tmp_path / "store") == []


def test_a_good_twin_of_a_rotten_chunk_is_not_forgotten(tmp_path: Path) -> None:
    """1. two packs hold one chunk; 2. the one that was read back last rots unseen; 3. forget."""
    folder, wanted = tmp_path / "store", noise(3000)
    for seed in (1, 2):
        with opened(folder) as store:
            store._mine.clear()
            store.put([(digest(wanted), wanted), *((digest(d), d) for d in [noise(90_000, seed + 10)])])
            store.seal()
    with opened(folder) as store:
        store.check(list(store.packs.values()))
        bad = store.place(digest(wanted))[0].path
    flip(bad, 100)
    with opened(folder, exclusive=True) as store:  # as if its times had stayed
        store._verified[bad.name] = store.packs[bad].signature
        store._look_up()
        store.prune({digest(wanted)})
    with opened(folder) as store:
        store.check(list(store.packs.values()))
        assert get(store, digest(wanted)) == wanted


def test_a_twin_goes_only_when_the_other_was_read_back(tmp_path: Path) -> None:
    """1. two packs hold one chunk, and nobody read either back; 2. the fuller one rots; 3. forget."""
    folder, wanted, other = tmp_path / "store", noise(3000), noise(3000, 2)
    for company, junk in ((other, b""), (b"", noise(90_000, 3))):
        with opened(folder) as store:
            store.put([(digest(data), data) for data in (wanted, company, junk) if data])
            store.seal()
    full = min(pack_files(folder), key=lambda path: path.stat().st_size)
    flip(full, 100)
    with opened(folder, exclusive=True) as store:
        store._where[digest(wanted)] = (store.packs[full], 0)
        store.prune({digest(wanted), digest(other)})
    with opened(folder) as store:
        store.check(list(store.packs.values()))
        assert get(store, digest(wanted)) == wanted


def test_many_small_packs_become_few(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    for number in range(30):
        with opened(folder) as store:
            put(store, noise(500, number))
            store.seal()
    with opened(folder, exclusive=True) as store:
        assert store.prune({digest(noise(500, number)) for number in range(30)}) > 0
    assert len(pack_files(folder)) == 4, "of 4000 bytes each"
    with opened(folder) as store:
        assert all(get(store, digest(noise(500, number))) == noise(500, number) for number in range(30))


def test_a_frame_tells_its_chunks() -> None:
    frame = Frame(8, 30, b"", digest(b"a") + digest(b"b"), (10, 20))
    assert list(frame.chunks()) == [(digest(b"a"), 0, 10), (digest(b"b"), 10, 30)]


def test_no_space_says_how_much_is_needed_and_free(tmp_path: Path) -> None:
    refused = no_space(tmp_path, 3 << 40, "saving this disk")
    assert refused.kind is Kind.NO_SPACE
    assert "3072.0 GiB" in refused.message
    assert str(tmp_path) in refused.message
    assert refused.fix


class Images(RuleBasedStateMachine):
    """Images come and go, packs rot, forget runs: no chunk of a kept image is ever lost by us."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.folder / "store"
        self.images: dict[Path, set[int]] = {}
        self.made = 0

    def data(self, number: int) -> bytes:
        return (b"%d " % number) * 50 if number % 2 else noise(900 + number, number)

    @rule(numbers=st.sets(st.integers(0, 30), min_size=1, max_size=12))
    def bake(self, numbers: set[int]) -> None:
        with opened(self.store) as store:
            for group in (sorted(numbers)[:3], sorted(numbers)[3:]):
                put(store, *map(self.data, group))
            store.seal()
        self.made += 1
        names = b"".join(digest(self.data(n)) for n in sorted(numbers))
        path = self.folder / f"image{self.made}"
        save_manifest(path, Manifest([Entry(0, b"", "d", 0, 0, 0, 0, 0, 0, chunks=names)]))
        self.images[path] = numbers

    @rule(which=st.integers(0, 99))
    def delete(self, which: int) -> None:
        if self.images:
            path = sorted(self.images)[which % len(self.images)]
            path.unlink()
            del self.images[path]

    @rule()
    def read_back(self) -> None:
        with opened(self.store) as store:
            store.check(list(store.packs.values()))

    @rule()
    def sweep(self) -> None:
        before = sum(p.stat().st_size for p in pack_files(self.store))
        freed = forget(self.store, list(self.images))
        assert before - freed == sum(p.stat().st_size for p in pack_files(self.store))
        if not self.images:
            assert pack_files(self.store) == []

    @rule()
    def an_unreadable_image_stops_it(self) -> None:
        before = pack_files(self.store)
        bad = self.folder / "bad"
        bad.write_bytes(b"?")
        with pytest.raises(Refused) as caught:
            forget(self.store, [*self.images, bad])
        assert caught.value.kind is Kind.CORRUPT
        assert pack_files(self.store) == before

    @invariant()
    def every_chunk_of_every_image_is_there(self) -> None:
        if not hasattr(self, "images"):
            return
        with opened(self.store) as store:
            for number in set().union(*self.images.values()):
                assert get(store, digest(self.data(number))) == self.data(number)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_store, "PACK", 4000)
    monkeypatch.setattr(chunk_store, "_MANY", 5)


TestImages = Images.TestCase
TestImages.settings = settings(
    max_examples=25, stateful_step_count=15, suppress_health_check=list(HealthCheck)
)
