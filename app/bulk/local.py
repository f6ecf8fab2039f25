"""The engine of one machine: a thread reads ahead, several write, the caller notes what is done."""

import queue
import threading
from collections.abc import Iterable, Iterator

from app.bulk.columns import Columns
from app.bulk.parts import Layout
from app.bulk.service import StoppedError
from app.bulk.target import Target, open_sink
from app.bulk.work import Batch, Outcome, Sink, Task, Worker

_AHEAD = 2
"""Parts read ahead of each writer."""

_Done = queue.Queue[Outcome | BaseException | None]


class LocalEngine:
    """Does parts in threads of this process.

    Args:
        target: Where documents go.
        columns: Which columns are what.
        layout: How files are to be read.
        writers: How many parts are written at a time.
        stop: When set, no more is begun; what is under way is still done and yielded.
        sink: Where documents go, if it is open already.
    """

    def __init__(
        self,
        target: Target,
        columns: Columns,
        layout: Layout,
        writers: int,
        stop: threading.Event,
        sink: Sink | None = None,
    ) -> None:
        self._sink = sink or open_sink(target, stop)
        self._worker = Worker(self._sink, columns, layout)
        self._writers = writers
        self._stop = stop
        self._failed = threading.Event()

    @property
    def count(self) -> int:
        """Documents in the collection before the job."""
        return self._sink.count

    def close(self) -> None:
        """Close the sink."""
        self._sink.close()

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Do tasks, yielding each when its documents are durable, in any order.

        Args:
            tasks: What to do; taken in a thread of its own, as there is room.

        Raises:
            ServiceError: If nothing more can be done; after all that was done has been yielded.
        """
        read: queue.Queue[Batch | None] = queue.Queue(_AHEAD * self._writers)
        done: _Done = queue.Queue()
        threads = [threading.Thread(target=self._reading, args=(tasks, read, done))]
        threads += [
            threading.Thread(target=self._writing, args=(read, done)) for _ in range(self._writers)
        ]
        for thread in threads:
            thread.daemon = True
            thread.start()
        yield from _collect(done, self._writers)

    @property
    def _ended(self) -> bool:
        return self._failed.is_set() or self._stop.is_set()

    def _reading(
        self, tasks: Iterable[Task], read: "queue.Queue[Batch | None]", done: _Done
    ) -> None:
        try:
            for task in tasks:
                if self._ended:
                    break
                read.put(self._worker.read(task))
        except BaseException as error:
            self._failed.set()
            done.put(error)
        for _ in range(self._writers):
            read.put(None)

    def _writing(self, read: "queue.Queue[Batch | None]", done: _Done) -> None:
        # Whatever happens, all that is read is taken, or the reader would wait for ever.
        while (batch := read.get()) is not None:
            if self._ended:
                continue
            try:
                done.put(self._worker.write(batch))
            except StoppedError:
                continue
            except BaseException as error:
                self._failed.set()
                done.put(error)
        done.put(None)


def _collect(done: _Done, writers: int) -> Iterator[Outcome]:
    problem: BaseException | None = None
    while writers:
        found = done.get()
        if found is None:
            writers -= 1
        elif isinstance(found, BaseException):
            problem = problem or found
        else:
            yield found
    if problem is not None:
        raise problem
