"""The folder of prepared cases of a data set: what is missing in it, how it is filled, and how it is opened."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from medseg.data.case import Case, DataSet
from medseg.data.images import FileError
from medseg.data.preparation import Preparer
from medseg.data.store.building import estimate, run
from medseg.data.store.cases import StoredCases
from medseg.data.store.locks import STALE_AFTER, ReadMark, WriteLock, nobody_reads
from medseg.data.store.manifest import Manifest, StoredCase, write_case
from medseg.data.store.sources import Source, content_of, digest_of_bytes, recipe_of, relative, stamp
from medseg.errors import DataError, first_few
from medseg.files import write_text

VERSION = 2
"""To be raised with every change of what preparation makes of a case, so that cases of an older one are not taken for it."""

_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES, errno.EPERM, errno.ENOTDIR)  # what systems say of a name that is taken
_ATTEMPTS = 5
_READERS = 8  # threads that look at files: a network disk answers many at once, and a fast one needs half as long without them
_TRIED = 16  # cases after which it is known which of the two it is
_ABANDONED_AFTER = 86400.0  # seconds; only where there are no locks to tell that nobody writes an unfinished case


class PreparedStore:
    """The prepared cases of a data set, independent of folds and normalisation.

    A case lies in a folder named by its id and the content of everything it was made from, so that data sets of one name, or two states of
    one, never take each other's cases. It is made anew when the content of one of its files changes, and only then: files that were merely
    copied or touched are read once and accepted. A case appears whole or not at all; what a killed process leaves is removed by the next.

    Args:
        root: Folder of all stores, `data.store`.
        dataset: The data set. Its labels and channels, with the preparer's spacing, name the store; its root does not.
        preparer: Makes the arrays.
    """

    def __init__(self, root: Path, dataset: DataSet, preparer: Preparer) -> None:
        self.dataset = dataset
        self.preparer = preparer
        self._identity = {
            "version": VERSION,
            "labels": dataset.labels.to_dict(),
            "channels": list(dataset.channels),
            "spatial_dims": dataset.spatial_dims,
            "spacing": preparer.spacing,
        }
        digest = digest_of_bytes(json.dumps(self._identity, sort_keys=True).encode())
        self.folder = Path(root).expanduser() / f"{_slug(dataset.name)}-{digest[:12]}"

    def missing(self, cases: Sequence[Case]) -> list[Case]:
        """The cases that are not stored, whose files have changed since, or which are damaged as far as sizes and lesions tell."""
        return [case for case, stored in zip(cases, self._find(cases), strict=True) if stored is None]

    def known(self, cases: Sequence[Case]) -> list[Case]:
        """The cases of which something is stored that was made of the same files in the same place, whatever state it is in."""
        folders, place = self._folders(), str(self.dataset.root.absolute())

        def made_of(case: Case, manifest: Manifest | None) -> bool:
            return manifest is None or (manifest.root == place and manifest.recipe == recipe_of(case, self.dataset.root))

        return [case for case in cases if any(made_of(case, Manifest.read(folder)) for folder in folders.get(_key(case), []))]

    def verify(self, cases: Sequence[Case]) -> list[Case]:
        """Reads the stored files of all cases and returns those that are damaged or not stored; they count as missing from then on."""
        damaged = []
        for case, stored in zip(cases, self._find(cases), strict=True):
            if stored is None or not stored.intact():
                damaged.append(case)
                if stored is not None:
                    stored.condemn()
        return damaged

    def build(
        self,
        cases: Sequence[Case],
        *,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        stale_after: float = STALE_AFTER,
    ) -> None:
        """Prepares the missing cases, several at a time. Another process that does the same is waited for.

        Args:
            cases: All that are needed.
            workers: Threads; by default one a core, at most 8, and as many as the memory of the largest case allows.
            progress: Called with the number of cases done and their total: before the first one, and after each.
            stale_after: Seconds to wait for another process without its finishing a case.

        Raises:
            DataError: Some cases cannot be used (the message names the first few; the others are stored), or the store cannot be written.
        """
        if not self.missing(cases):
            return
        try:
            self._write_description()
            with WriteLock(self._lock).held(stale_after) as locked:
                self._remove_unfinished(all_of_them=locked)
                faults = self._build(self.missing(cases), workers, progress)
                self._remove_superseded(cases)
        except OSError as error:
            raise self._unusable("written", error) from error
        if faults:
            shown = first_few([error for _, error in faults])
            raise DataError(
                f"{len(faults)} cases of the data set '{self.dataset.name}' cannot be used; `medseg check` lists all faults:\n{shown}"
            )

    def open(self, cases: Sequence[Case], cache_gib: float = 0.0, *, build: bool = False) -> StoredCases:
        """Opens stored cases, after a look at the sizes of their files and at whether their sources have changed.

        Args:
            cases: Which, in this order.
            cache_gib: Memory for unpacked cases; the first ones that fit are kept in it once they have been read.
            build: Whether to prepare what is missing first; faster than `build` before, which would look at all files twice.

        Raises:
            DataError: Some are not stored; with `build`, as that.
        """
        mark: ReadMark | None = ReadMark(self._readers)
        everything = self._find(cases)
        if build and None in everything:
            mark = None  # else nothing superseded would be removed
            self.build(cases)
            mark = ReadMark(self._readers)
            everything = self._find(cases)
        stored = [found for found in everything if found is not None]
        if len(stored) < len(cases):
            known = {id(found.case) for found in stored}
            names = [f"'{case.id}'" for case in cases if id(case) not in known]
            raise DataError(
                f"{self.folder}: {len(names)} of {len(cases)} cases are not prepared, or their files have changed since "
                f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}); run `medseg prepare`"
            )
        return StoredCases(stored, self.dataset.labels, cache_gib * 2**30, mark)

    @property
    def _cases(self) -> Path:
        return self.folder / "cases"

    @property
    def _unfinished(self) -> Path:
        return self.folder / "unfinished"

    @property
    def _lock(self) -> Path:
        return self.folder / "prepare.lock"

    @property
    def _readers(self) -> Path:
        return self.folder / "readers.lock"

    def _find(self, cases: Sequence[Case]) -> list[StoredCase | None]:
        folders = self._folders()

        def find(case: Case) -> StoredCase | None:
            return self._find_one(case, folders.get(_key(case), []))

        wall, cpu = time.perf_counter(), time.thread_time()
        found = [find(case) for case in cases[:_TRIED]]
        if time.perf_counter() - wall < 2 * (time.thread_time() - cpu):
            return found + [find(case) for case in cases[_TRIED:]]
        with ThreadPoolExecutor(_READERS) as pool:
            return found + list(pool.map(find, cases[_TRIED:]))

    def _folders(self) -> dict[str, list[Path]]:
        """The folders of each case, by the part of their names that the case's id makes."""
        folders: dict[str, list[Path]] = {}
        try:
            for entry in os.scandir(self._cases):
                folders.setdefault(entry.name.rpartition("-")[0], []).append(Path(entry.path))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._unusable("read", error) from error
        return folders

    def _find_one(self, case: Case, folders: Sequence[Path]) -> StoredCase | None:
        """The stored case that was made from the files as they are now."""
        recipe = recipe_of(case, self.dataset.root)
        candidates = [(folder, manifest) for folder in folders if (manifest := Manifest.read(folder)) and manifest.recipe == recipe]
        try:
            current = {relative(file, self.dataset.root): file for file in case.files} if candidates else {}
            stamps = {path: stamp(file) for path, file in current.items()}
        except FileError:
            return None
        for folder, manifest in candidates:
            stored = StoredCase(case, folder, manifest)
            if {source.path: (source.size, source.mtime_ns) for source in manifest.sources} == stamps:
                return stored if stored.complete() else None
        for folder, manifest in candidates:
            refreshed = self._refreshed(manifest, current, stamps)
            if refreshed is not None and StoredCase(case, folder, refreshed).complete():
                with contextlib.suppress(OSError):  # a store that may not be written: the files are read again next time
                    refreshed.write(folder)
                return StoredCase(case, folder, refreshed)
        return None

    def _refreshed(self, manifest: Manifest, current: dict[str, Path], stamps: dict[str, tuple[int, int]]) -> Manifest | None:
        """The manifest with the times of the files as they are now, where their content is still the same."""
        if {source.path: source.size for source in manifest.sources} != {path: size for path, (size, _) in stamps.items()}:
            return None
        sources = []
        for source in manifest.sources:
            if source.mtime_ns != stamps[source.path][1]:
                try:
                    now = Source.of(current[source.path], self.dataset.root)
                except FileError:
                    return None
                if now.digest != source.digest:
                    return None
                source = now
            sources.append(source)
        return replace(manifest, sources=tuple(sources))

    def _build(
        self, cases: Sequence[Case], workers: int | None, progress: Callable[[int, int], None] | None
    ) -> list[tuple[Case, DataError]]:
        lock, finished = WriteLock(self._lock), 0

        def done(_: Case) -> None:
            nonlocal finished
            finished += 1
            lock.beat()
            if progress is not None:
                progress(finished, len(cases))

        lock.beat()
        if cases and progress is not None:
            progress(0, len(cases))
        return run(cases, self._prepare, lambda case: estimate(case, self.preparer.spacing), workers=workers, done=done)

    def _prepare(self, case: Case, step: Callable[[], None]) -> None:
        """Prepares one case in a folder of its own, and puts that in its place."""
        root = self.dataset.root
        files = case.files
        sources = tuple(Source.of(file, root) for file in files)
        step()
        arrays = self.preparer.arrays(case, self.dataset.labels)
        step()
        for file, source in zip(files, sources, strict=True):
            if stamp(file) != (source.size, source.mtime_ns):
                raise FileError(file, "changed while it was read", "start again when it is complete")
        recipe = recipe_of(case, root)
        folder = self._unfinished / uuid.uuid4().hex
        folder.mkdir(parents=True)
        try:
            write_case(arrays, self.dataset.labels, folder, root=root, recipe=recipe, sources=sources, step=step)
            self._put(case, folder, self._cases / f"{_key(case)}-{content_of(recipe, sources)[:16]}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _put(self, case: Case, folder: Path, place: Path) -> None:
        place.parent.mkdir(exist_ok=True)
        for _ in range(_ATTEMPTS):
            try:
                os.rename(folder, place)
                return
            except OSError as error:
                if not place.exists():
                    raise
                found = Manifest.read(place)
                if found is not None and StoredCase(case, place, found).intact():
                    return  # without locks, another process may have been faster
                if error.errno not in _OCCUPIED:
                    raise
            # What is there is damaged, since the case was missing; another process may be about to take it away, too.
            with contextlib.suppress(FileNotFoundError):
                os.rename(place, self._unfinished / uuid.uuid4().hex)
        raise OSError(errno.EBUSY, "another process takes the place of each case that is prepared")

    def _unusable(self, verb: str, error: OSError) -> DataError:
        return DataError(
            f"{self.folder}: the prepared cases cannot be {verb} ({error.strerror or error}); "
            "make room there, or set data.store to a folder where there is some and that you may write"
        )

    def _write_description(self) -> None:
        """Says in words what the folder holds, and makes the files that locks need."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self._lock, self._readers):
            path.touch(exist_ok=True)
        if not (self.folder / "store.json").exists():
            write_text(self.folder / "store.json", json.dumps({"name": self.dataset.name} | self._identity, indent=2) + "\n")

    def _remove_unfinished(self, all_of_them: bool) -> None:
        """Removes what killed processes left; without locks only what is old."""
        if self._unfinished.is_dir():
            for folder in self._unfinished.iterdir():
                if all_of_them or time.time() - folder.stat().st_mtime > _ABANDONED_AFTER:
                    shutil.rmtree(folder, ignore_errors=True)

    def _remove_superseded(self, cases: Sequence[Case]) -> None:
        """Removes what was made from earlier states of the same files and what is damaged, unless some process reads the store."""
        folders = self._folders()
        if not any(len(folders.get(_key(case), [])) > 1 for case in cases):
            return
        with nobody_reads(self._readers) as alone:
            if not alone:
                return
            for case, stored in zip(cases, self._find(cases), strict=True):
                for folder in folders.get(_key(case), []):
                    manifest = Manifest.read(folder)
                    if stored is not None and folder != stored.folder and (manifest is None or _same_place(manifest, stored.manifest)):
                        shutil.rmtree(folder, ignore_errors=True)


def _same_place(manifest: Manifest, other: Manifest) -> bool:
    """Whether both were made from the same files, whatever was in them."""
    return manifest.root == other.root and manifest.recipe == other.recipe


def _key(case: Case) -> str:
    """The part of a folder's name that the case's id makes: readable, and different for ids that differ in anything."""
    return f"{_slug(case.id)}-{digest_of_bytes(case.id.encode())[:8]}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:40] or "x"
