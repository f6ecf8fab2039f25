"""Runs of fixed shapes over buffers that never move: what a GPU is fastest at.

A GPU is slow at each shape the first time, its memory grows with every new one, and a recorded
graph of kernels can only be played again over the same addresses. So texts are padded to one of a
few shapes, each warmed before the service is ready, and each with its own input and output buffers
on the device. The padding costs less than it looks: lengths step by at most a half.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.encoder.buckets import Buckets
from app.encoder.hardware import CPU, CUDA

WARM_RUNS = 3
"""Of each shape: one as usual, one to record its kernels, one to play them."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Where buffers lie and how they are made.

    Attributes:
        on_host: Makes a buffer that the processor writes: as what is bound or copied, and as array.
        on_device: Makes a buffer beside the model, or None where the host's is just that.
    """

    on_host: Callable[[tuple[int, int], type[np.generic]], tuple[Any, NDArray[Any]]]
    on_device: Callable[[tuple[int, int], type[np.generic]], Any] | None


class _Slot:
    """The buffers of one shape and their binding to the session."""

    def __init__(self, session: Any, names: Sequence[str], memory: Memory, shape: Any) -> None:
        *inputs, output = names
        batch, seq, dim = shape
        self.binding = session.io_binding()
        self.arrays: list[NDArray[np.int64]] = []
        self._copies: list[tuple[Any, Any]] = []
        self._result: NDArray[np.float32] | None = None
        for name in inputs:
            value, array = memory.on_host((batch, seq), np.int64)
            self.arrays.append(array)
            if memory.on_device is not None:
                source, value = value, memory.on_device((batch, seq), np.int64)
                self._copies.append((source, value))
            self.binding.bind_ortvalue_input(name, value)
        if memory.on_device is None:
            self._output, self._result = memory.on_host((batch, dim), np.float32)
        else:
            self._output = memory.on_device((batch, dim), np.float32)
        self.binding.bind_ortvalue_output(output, self._output)

    def send(self) -> None:
        """Bring the inputs to the device."""
        for source, value in self._copies:
            value.update_inplace(source)
        if self._copies:
            self.binding.synchronize_inputs()

    def fetch(self) -> NDArray[np.float32]:
        """Bring the output back; on the host the array is the slot's own."""
        if self._result is not None:
            return self._result
        self.binding.synchronize_outputs()
        return np.asarray(self._output.numpy())


class BucketedRuns:
    """Runs a session in fixed shapes; made for one thread.

    Args:
        session: The ONNX Runtime session.
        names: Its inputs (ids, mask) and its output.
        buckets: The shapes.
        memory: Where the buffers lie.
        dim: Length of a vector.
        pad_id: What rows are padded with.
        options: Makes the run options for the shape of that number, or None.
    """

    def __init__(
        self,
        session: Any,
        names: Sequence[str],
        buckets: Buckets,
        memory: Memory,
        *,
        dim: int,
        pad_id: int,
        options: Callable[[int], Any] = lambda number: None,
    ) -> None:
        self._session, self._names, self._buckets, self._memory = session, names, buckets, memory
        self._dim, self._pad_id, self._options = dim, pad_id, options
        self._slots: dict[tuple[int, int], tuple[_Slot, Any]] = {}

    def warm_up(self) -> None:
        """Make all buffers and run all shapes, the largest first: the memory grows only once."""
        for batch, length in self._buckets.shapes():
            for _ in range(WARM_RUNS):
                self._run_shape([[self._pad_id] * length] * batch, (batch, length))

    def run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Encode token ids; more than the largest shape holds are run in parts.

        Args:
            rows: Token ids of each text; at least one row, none empty.

        Returns:
            Rows of vectors, shape (texts, dim).
        """
        parts = [
            self._run_shape(part, self._buckets.shape_of(len(part), max(map(len, part))))
            for part in self._parts(rows)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _parts(self, rows: Sequence[Sequence[int]]) -> Iterator[Sequence[Sequence[int]]]:
        _, length = self._buckets.shape_of(1, max(map(len, rows)))
        most = self._buckets.most_rows(length)
        for first in range(0, len(rows), most):
            yield rows[first : first + most]

    def _run_shape(
        self, rows: Sequence[Sequence[int]], shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        if shape not in self._slots:
            slot = _Slot(self._session, self._names, self._memory, (*shape, self._dim))
            self._slots[shape] = slot, self._options(len(self._slots) + 1)
        slot, options = self._slots[shape]
        ids, mask = slot.arrays
        ids[:], mask[:] = self._pad_id, 0
        mask[:, 0] = 1  # a row of padding alone must not divide by nothing
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        slot.send()
        self._session.run_with_iobinding(slot.binding, options)
        return slot.fetch()[: len(rows)].copy()


def memory_of(library: Any, provider: str, number: int) -> Memory:
    """Say where the buffers of a session's inputs and outputs lie.

    Args:
        library: The module ``onnxruntime``, which is imported in one place alone.
        provider: What the session runs on.
        number: Which GPU.
    """
    value = library.OrtValue

    def shared(shape: tuple[int, int], kind: type[np.generic]) -> tuple[Any, NDArray[Any]]:
        array = np.zeros(shape, dtype=kind)
        return value.ortvalue_from_numpy(array), array  # the array's own memory

    if provider == CPU:
        return Memory(shared, None)
    pinned = _pinned_memory(library, number)

    def copied(shape: tuple[int, int], kind: type[np.generic]) -> tuple[Any, NDArray[Any]]:
        if pinned is not None:
            made = value.ortvalue_from_shape_and_type(shape, kind, memory_info=pinned)
            array = made.numpy()
            if array.ctypes.data == made.data_ptr():  # else it is a copy, which nobody reads
                return made, array
        array = np.zeros(shape, dtype=kind)
        return array, array

    return Memory(
        copied,
        lambda shape, kind: value.ortvalue_from_shape_and_type(shape, kind, "cuda", number),
    )


def _pinned_memory(library: Any, number: int) -> Any:
    """Find the page-locked memory from which a GPU copies fastest; None if it is not offered."""
    found = [one for one in library.get_ep_devices() if one.ep_name == CUDA]
    if number >= len(found):
        return None
    return found[number].memory_info(library.OrtDeviceMemoryType.HOST_ACCESSIBLE)
