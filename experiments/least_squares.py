"""Linear least squares: fit, predict, and the coefficient of determination R²."""

import numpy as np


def fit_linear(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fit weights and bias, (n_in + 1, n_out), to x (n, n_in) and y (n, n_out)."""
    return np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0].astype(np.float32)


def predict_linear(fit: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Predict y = x w + b with fitted coefficients.

    >>> x = np.array([[0.0], [1.0], [2.0]])
    >>> np.allclose(predict_linear(fit_linear(x, 3 * x - 1), x), 3 * x - 1, atol=1e-6)
    True
    """
    return x @ fit[:-1] + fit[-1:]


def r_squared(prediction: np.ndarray, y: np.ndarray) -> np.ndarray:
    """R² = 1 - Σ (y - prediction)² / Σ (y - mean y)², over the last two axes.

    >>> y = np.array([[1.0], [2.0], [3.0]])
    >>> r_squared(y, y).item(), r_squared(np.full((3, 1), 2.0), y).item(), r_squared(4 - y, y).item()
    (1.0, 0.0, -3.0)
    """
    axes = (-2, -1)
    return 1 - np.sum((y - prediction) ** 2, axis=axes) / np.sum((y - y.mean(axis=axes, keepdims=True)) ** 2, axis=axes)
