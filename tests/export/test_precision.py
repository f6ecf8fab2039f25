import numpy as np

from export.precision import quantize_rows


def test_quantize_rows_hand_computed() -> None:
    integers, scales = quantize_rows(np.array([[127, -254], [0.5, 0.25], [0, 0]], np.float32))

    np.testing.assert_array_equal(integers, [[64, -127], [127, 64], [0, 0]])
    np.testing.assert_allclose(scales, [2, 0.5 / 127, 1])


def test_quantize_rows_is_off_by_half_a_step_at_most() -> None:
    table = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32)
    table *= np.logspace(-6, 6, 50, dtype=np.float32)[:, None]

    integers, scales = quantize_rows(table)

    error = np.abs(integers * scales[:, None] - table)
    assert (error <= 0.5001 * scales[:, None]).all()
