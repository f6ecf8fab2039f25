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
        on_host: Makes a buffer that the processor writes and reads, and gives it as an array too.
        on_device: Makes a buffer beside the model, or None where the host's is just that.
    """

    on_host: Callable[[tuple[int, int], type[np.generic]], tuple[Any, NDArray[Any]]]
    on_device: Callable[[tuple[int, int], type[np.generic]], Any] | None


class _Slot:
    """The buffers of one shape and their binding to the session."""

    def __init__(self, session: Any, names: Sequence[str], memory: Memory, shape: Any) -> None:
        *inputs, output = names
        *input_shape, dim = shape  # (batch, seq, dim)
        batch, seq = input_shape
        self.binding = session.io_binding()
        self.arrays: list[NDArray[np.int64]] = []
        self._pairs: list[tuple[Any, Any]] = []
        for name in inputs:
            host, array = memory.on_host((batch, seq), np.int64)
            device = memory.on_device((batch, seq), np.int64) if memory.on_device else host
            self.binding.bind_ortvalue_input(name, device)
            self.arrays.append(array)
            self._pairs.append((host, device))
        host, self._result = memory.on_host((batch, dim), np.float32)
        self._output = memory.on_device((batch, dim), np.float32) if memory.on_device else host
        self.binding.bind_ortvalue_output(output, self._output)

    def send(self) -> None:
        """Bring the inputs to the device."""
        for host, device in self._pairs:
            if device is not host:
                device.update_inplace(host)

    def fetch(self) -> NDArray[np.float32]:
        """Bring the output back; the array is the slot's own where the device is the host."""
        device = self._output
        return self._result if device.device_name() == "cpu" else np.asarray(device.numpy())


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

    def plain(shape: tuple[int, int], kind: type[np.generic]) -> tuple[Any, NDArray[Any]]:
        array = np.zeros(shape, dtype=kind)
        return value.ortvalue_from_numpy(array), array  # shares the array's memory

    if provider == CPU:
        return Memory(plain, None)
    pinned = _pinned_memory(library, number)

    def on_host(shape: tuple[int, int], kind: type[np.generic]) -> tuple[Any, NDArray[Any]]:
        if pinned is None:
            return plain(shape, kind)
        made = value.ortvalue_from_shape_and_type(shape, kind, memory_info=pinned)
        array = made.numpy()
        # A copy would never reach the device.
        return (made, array) if array.ctypes.data == made.data_ptr() else plain(shape, kind)

    return Memory(
        on_host,
        lambda shape, kind: value.ortvalue_from_shape_and_type(shape, kind, "cuda", number),
    )


def _pinned_memory(library: Any, number: int) -> Any:
    """Find the page-locked memory from which a GPU copies fastest; None if it is not offered."""
    found = [one for one in library.get_ep_devices() if one.ep_name == CUDA]
    if number >= len(found):
        return None
    return found[number].memory_info(library.OrtDeviceMemoryType.HOST_ACCESSIBLE)
