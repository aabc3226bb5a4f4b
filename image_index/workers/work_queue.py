"""The jobs of a pool in their order, and how a lost batch is split until the file at fault stands alone.

Pure: no process, no clock. A batch lost beside others is tried again on its own. A lone one is split: the file that was
being read then comes alone, the rest together; or two halves, where no file was being read. Suspects come last, so that
good files do not wait for bad ones.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from image_index.records import Batch, Failure, Stage
from image_index.workers.messages import Job

DEATHS_ALONE = 2
"""A file that is tried alone fails after this many deaths: one may be chance (the out-of-memory killer, a person)."""


class WorkQueue:
    """Jobs from a source, and those that come back."""

    def __init__(self, source: Iterable[Job]) -> None:
        """Take jobs from `source` one by one, as they are asked for."""
        self._source = iter(source)
        self._returned: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._deaths: Counter[bytes] = Counter()

    def __bool__(self) -> bool:
        """Tell whether a job is left; this takes at most one from the source."""
        if not self._returned and not self._suspects:
            self._returned.extend(islice(self._source, 1))
        return bool(self._returned or self._suspects)

    def take(self, *, alone: bool = True) -> Job | None:
        """Return the next job: one that came back, else a new one, else a suspect; None when there is none.

        Suspects are only for a child that has nothing else in hand: for `alone`.
        """
        if self._returned:
            return self._returned.popleft()
        job = next(self._source, None)
        if job is None and alone and self._suspects:
            return self._suspects.popleft()
        return job

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Return jobs that nobody began, to be taken next."""
        for job in reversed(list(jobs)):
            (self._suspects if job.alone else self._returned).appendleft(job)

    def suspect(self, jobs: Iterable[Job]) -> None:
        """Return the batches among `jobs`, any of which may have killed a child that had several in work."""
        self._suspects.extend(replace(job, alone=True) for job in jobs if isinstance(job, Batch))

    def isolate(self, batch: Batch, position: int | None, stage: Stage, reason: str) -> Failure | None:
        """Split a lost batch; `position` is the file that was being read, None if that is not known.

        Of eight files lost at the third, the third comes back alone, last of all, and the other seven together. Returns
        the failure of a file that was already alone, once it is certain that chance did not kill it.
        """
        files = batch.files
        if len(files) == 1:
            return self._give_up(batch, stage, reason)
        if position is not None and position < len(files):
            self.suspect([Batch(files[position : position + 1])])
            self.put_back([Batch(files[:position] + files[position + 1 :])])
        else:
            middle = len(files) // 2
            self.suspect([Batch(files[:middle]), Batch(files[middle:])])
        return None

    def _give_up(self, batch: Batch, stage: Stage, reason: str) -> Failure | None:
        """Count a death over a lone file; return its failure, or let it be tried again if it may have been chance."""
        (file,) = batch.files
        self._deaths[file.path] += 1
        if stage is Stage.CRASH and self._deaths[file.path] < DEATHS_ALONE:
            self.suspect([batch])
            return None
        return Failure(file, stage, reason)
